from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    name = "apps.analytics"
    label = "analytics"

    def ready(self) -> None:
        from apps.analytics import verification
        from apps.core import verification as core_verification

        core_verification.register("analytics", *verification.CHECKS)
