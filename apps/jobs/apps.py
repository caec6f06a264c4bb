from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "apps.jobs"
    label = "jobs"

    def ready(self) -> None:
        from apps.core import verification as core_verification
        from apps.jobs import spending, verification

        core_verification.register("jobs", *verification.CHECKS, spending.windows_follow_from_jobs)
        core_verification.register_figure("jobs", verification.jobs)
