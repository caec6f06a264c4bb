from django.apps import AppConfig


class SaasllmConfig(AppConfig):
    """No models: here so that the deployment checks are registered."""

    name = "saasllm"
    label = "saasllm"

    def ready(self) -> None:
        from saasllm import checks as checks
