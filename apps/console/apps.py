from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """No models: pages of the operators' site."""

    name = "apps.console"
    label = "console"
