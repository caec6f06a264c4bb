"""Settings: what operators change while the platform runs, and what the environment says."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import Http404
from django.urls import reverse

from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, StaleState
from apps.console.pages.base import Page
from apps.core import settings_store
from apps.core.actors import Actor
from apps.core.settings_store import Current
from apps.organizations.rights import Right

_GROUPS = (
    ("General", ("platform_name", "credit_word", "reporting_time_zone")),
    ("Money", ("low_percent", "critical_percent", "support_credits_max")),
    ("Sign-in and security", ("session_idle_min", "second_factor_required")),
)
# Of the environment alone, to be read: variables by name, and secrets of which only it is said whether they are set.
_ENVIRONMENT = (
    "CREDIT_LIST_PRICE_USD",
    "PAYLOAD_RETENTION_H",
    "DECISION_RETENTION_DAYS",
    "SWEEP_EVERY_S",
    "ROLLUPS_EVERY_S",
    "RATE_LIMITS_WHEN_REDIS_IS_DOWN",
    "MASTER_KEY_OFF",
    "PROVIDERS_MAY_BE_INTERNAL",
)
_SECRETS = ("MASTER_KEY", "LITELLM_MASTER_KEY", "LITELLM_BASE_URL", "REDIS_URL")


def shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def label_of(name: str) -> str:
    return name.replace("_", " ").capitalize()


class SettingsPage(Page):
    template_name = "console/pages/settings.html"
    title = "Settings"

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        found = {each.name: each for each in settings_store.everything()}
        groups = [(title, [found.pop(name) for name in names if name in found]) for title, names in _GROUPS]
        if found:
            groups.append(("Other", list(found.values())))
        return {
            "groups": [(title, [self._row(each) for each in rows]) for title, rows in groups],
            "environment": [(name, shown(getattr(settings, name))) for name in _ENVIRONMENT],
            "secrets": [(name, bool(getattr(settings, name))) for name in _SECRETS],
        }

    def _row(self, each: Current) -> dict[str, Any]:
        may = self.operator.holds(Right.SETTINGS_WRITE, within=not each.known.is_security)
        url = reverse("admin:setting_change", kwargs={"name": each.name})
        return {
            "label": label_of(each.name),
            "value": shown(each.value),
            "current": each,
            "url": url if may and each.source != "environment" else "",
        }


class ChangeSetting(Action):
    """One setting. Admins change all but those of security."""

    right = Right.SETTINGS_WRITE
    form_class = ActionForm
    verb = "Change"
    busy = "Changing…"
    is_live = True
    obj: Current

    def load(self, name: str = "", **kwargs: Any) -> None:
        if name not in settings_store.KNOWN:
            raise Http404(f"There is no setting '{name}'")
        self.obj = settings_store.current(name)
        self.title = f"Change {label_of(name).lower()}"
        self.require_right_to({})

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return asked is None or not self.obj.known.is_security

    def doing(self) -> str:
        return "change security settings" if hasattr(self, "obj") and self.obj.known.is_security else ""

    def back_url(self) -> str:
        return reverse("admin:settings")

    def scope(self) -> str:
        return f"{super().scope()[:200]}:{self.obj.name}"

    def require_possible(self) -> None:
        if self.obj.source == "environment":
            raise StaleState(f"The environment's {self.obj.known.env} sets it. Change it there.")

    def make_form(self, data: Any = None) -> ActionForm:
        form = super().make_form(data)
        is_switch = isinstance(self.obj.known.default, bool)
        field: forms.Field = forms.BooleanField(required=False) if is_switch else forms.CharField(max_length=200)
        field.label, field.help_text = label_of(self.obj.name), self.obj.known.meaning
        field.initial = self.obj.value
        form.fields["value"] = field
        return form

    def prefilled(self, form: ActionForm) -> dict[str, Any] | None:
        return None

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        before = shown(self.obj.value)
        after = shown(asked["value"]) if asked else before
        return Preview(
            changes=[Change(label_of(self.obj.name), before, after)],
            consequences=["It holds within a few seconds, in all processes."],
            seen=str(self.obj.version),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        now = settings_store.put(self.obj.name, asked["value"], actor=actor, version=self.obj.version)
        return Done(f"{label_of(now.name)} is {shown(now.value)}.", self.back_url())
