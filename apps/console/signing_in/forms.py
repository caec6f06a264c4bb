"""The forms of set-up, sign-in and profile."""

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from allauth.account.forms import ChangePasswordForm, LoginForm
from django import forms

from apps.core import settings_store


@cache
def zones() -> list[tuple[str, str]]:
    """The zones of this machine's database, for a select."""
    return [(name, name.replace("_", " ")) for name in sorted(available_timezones()) if name != "localtime"]


class SignInForm(LoginForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        login, password = self.fields["login"], self.fields["password"]
        login.label, password.label, password.help_text = "E-mail", "Password", ""
        login.widget.attrs = {"autocomplete": "username webauthn", "autofocus": True}
        password.widget.attrs = {"autocomplete": "current-password"}


class SetUpForm(forms.Form):
    """What an owner and a platform start with; the service says what is wrong with it."""

    code = forms.CharField(
        label="Set-up code",
        max_length=100,
        help_text="The server wrote it to its log when it started. manage.py setup_code prints it again.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "code"}),
    )
    email = forms.CharField(
        label="E-mail", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username"})
    )
    display_name = forms.CharField(
        label="Your name", max_length=255, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    password = forms.CharField(
        label="Password",
        max_length=1000,
        strip=False,
        help_text="12 characters or more.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    time_zone = forms.ChoiceField(
        label="Time zone", choices=zones, initial="UTC", widget=forms.Select(attrs={"data-browser-zone": "true"})
    )
    platform_name = forms.CharField(label="Name of the platform", max_length=60)
    credit_word = forms.CharField(
        label="Word for a credit", max_length=30, help_text="Such as credit, token or coin."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("platform_name", "credit_word"):
            self.fields[name].initial = settings_store.KNOWN[name].default


class ProfileForm(forms.Form):
    display_name = forms.CharField(label="Name", max_length=255, required=False)
    time_zone = forms.ChoiceField(
        label="Time zone", required=False, choices=lambda: [("", "The browser's"), *zones()]
    )


class PasswordForm(ChangePasswordForm):  # type: ignore[misc]
    """One new password, shown on demand, instead of the same typed twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["password2"]
        old, new = self.fields["oldpassword"], self.fields["password1"]
        old.label, old.help_text, old.widget.attrs = "Present password", "", {"autocomplete": "current-password"}
        new.label, new.help_text = "New password", "12 characters or more."
        new.widget.attrs = {"autocomplete": "new-password"}
