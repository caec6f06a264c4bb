"""The sign-in pages as an app, and allauth's own app without its demand for a middleware on every request."""

from allauth.account.apps import AccountConfig
from django.apps import AppConfig
from django.contrib import admin

_LIBRARIES = ("account", "mfa", "socialaccount", "usersessions")


class AccountsConfig(AccountConfig):  # type: ignore[misc]
    """allauth.account, whose middleware runs inside ours for the pages of people alone (middleware.py)."""

    def ready(self) -> None:
        from allauth.account import checks as checks


class SigningInConfig(AppConfig):
    """No models: sign-in, set-up and profile pages."""

    name = "apps.console.signing_in"
    label = "signing_in"

    def ready(self) -> None:
        from allauth.mfa.models import Authenticator

        from apps.console.signing_in import trail
        from apps.core import encryption

        trail.connect()
        encryption.register_in_json(Authenticator, "data", ("secret", "seed"))
        # Whoever could edit these tables in the admin site could sign in as anybody.
        for model in list(admin.site._registry):
            if model._meta.app_label in _LIBRARIES:
                admin.site.unregister(model)
