"""Issue, rotate and revoke keys. A secret is shown in the answer to the form that made it, and nowhere else."""

from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from apps.catalog import services as catalog
from apps.console import formats, key_states, links
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, ReasonForm, StaleState
from apps.console.pages.keys import calls_since
from apps.core import clock, idempotency
from apps.core.actors import Actor
from apps.core.admin_forms import WordsField
from apps.organizations.rights import Right
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys import services
from apps.virtual_keys.errors import KeyNotUsable
from apps.virtual_keys.models import VirtualKey

OVERLAP_MAX_H = 24 * 90
_HOUR_S = 3600


class MomentField(forms.DateTimeField):
    """A moment ahead, typed in the viewer's zone; empty for never."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def clean(self, value: Any) -> Any:
        moment = super().clean(value)
        if moment is not None and moment <= clock.now():
            raise ValidationError("This is in the past.")
        return moment


class KeyForm(ActionForm):
    """What a key may do."""

    name = forms.CharField(
        max_length=255,
        help_text="to tell keys apart, e.g. production",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in services.SCOPES],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="none chosen: all",
    )
    expires_at = MomentField(required=False, label="Expires", help_text="empty: never")
    models_allowed = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Models",
        help_text="names the key may ask for; none chosen: whatever its team may use",
    )
    addresses_allowed = WordsField(
        required=False,
        label="Addresses",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="networks it may come from, one a line, e.g. 203.0.113.0/24; empty: any",
    )

    def __init__(self, *args: Any, models: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if models:
            self.fields["models_allowed"].choices = [(name, name) for name in models]  # type: ignore[attr-defined]
        else:
            del self.fields["models_allowed"]


class SecretAction(Action):
    """An action that answers with a key, and how to use it."""

    right = Right.KEYS_WRITE

    def show(self, request: HttpRequest, slot: idempotency.Slot, *, is_replay: bool) -> HttpResponse:
        ids = slot.result
        context = {
            "done": ids,
            "secret": slot.secret(),
            "is_replay": is_replay,
            "title": ids["message"],
            "base_url": request.build_absolute_uri("/").rstrip("/"),
        }
        return self.render(request, context, template="console/actions/key_secret.html")


class IssueKey(SecretAction):
    form_class = KeyForm
    verb = "Issue key"
    busy = "Issuing…"
    obj: Team

    def load(self, team_id: str = "", **kwargs: Any) -> None:
        self.obj = teams.find(team_id)
        self.title = f"Issue a key for {self.obj.team_id}"

    def doing(self) -> str:
        return "issue keys"

    def back_url(self) -> str:
        return links.team(self.obj.team_id, "keys")

    def form_kwargs(self) -> dict[str, Any]:
        return {"models": [each.name for each in catalog.usable(self.obj)]}

    def require_possible(self) -> None:
        if self.obj.status == Team.Status.CLOSED:
            raise StaleState(f"{self.obj.team_id} is closed: it gets no more keys.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        words = "The key is shown once, on the next page. Its team's credits and limits bound what it can use."
        return Preview(consequences=[words])

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        key, secret = services.issue(
            self.obj,
            actor=actor,
            name=asked["name"],
            scopes=asked["scopes"],
            models_allowed=asked.get("models_allowed"),
            addresses_allowed=asked["addresses_allowed"],
            expires_at=asked["expires_at"],
        )
        return _shown_once(key, f"Key “{key.name}” of {self.obj.team_id} was issued.", secret)


def _shown_once(key: VirtualKey, message: str, secret: str) -> Done:
    more = {"prefix": key.prefix, "team_id": key.team.team_id}
    return Done(message, links.key(key.pk), secret, "New key", more)


class _OfKey(Action):
    """An action on a key that still works."""

    right = Right.KEYS_WRITE
    obj: VirtualKey

    def load(self, key_id: str = "", **kwargs: Any) -> None:
        self.obj = services.find_any(key_id)
        self.name = self.obj.name or f"{self.obj.prefix}…"
        self.title = f"{self.verb} “{self.name}” ({self.obj.prefix}…)?"

    def doing(self) -> str:
        return f"{self.verb.lower()} keys"

    def back_url(self) -> str:
        return links.key(self.obj.pk)

    def require_possible(self) -> None:
        state = key_states.of(self.obj)
        if state in ("revoked", "expired"):
            raise StaleState(f"{self.name} is {state} already.")

    def seen(self) -> str:
        return f"{self.obj.revoked_at} {self.obj.replaced_by_id} {self.obj.expires_at}"

    def lately(self) -> str:
        calls = calls_since(self.obj, timedelta(hours=24)).calls
        last = f"the last use {formats.ago(self.obj.last_used_at)}" if self.obj.last_used_at else "never used"
        return f"{formats.count(calls)} calls in its jobs of the last 24 h, {last}."


class RotateForm(ReasonForm):
    """How long the old key works beside the new one, and why."""

    overlap_h = forms.IntegerField(
        min_value=0,
        max_value=OVERLAP_MAX_H,
        initial=24,
        label="Old key works for",
        help_text="hours from now; 0 stops it at once",
    )
    field_order = ("overlap_h", "reason")


class RotateKey(_OfKey, SecretAction):
    form_class = RotateForm
    verb = "Rotate"
    busy = "Rotating…"
    is_live = True

    def require_possible(self) -> None:
        super().require_possible()
        if self.obj.replaced_by_id is not None:
            raise StaleState(f"{self.name} was rotated already. Rotate its successor, or issue another key.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(
            changes=[Change("Old key", self._until(), self._new_end(asked))],
            consequences=["A new key with the same rights is shown once, on the next page.", self.lately()],
            seen=self.seen(),
        )

    def _until(self) -> str:
        return f"works until {formats.clock(self.obj.expires_at)}" if self.obj.expires_at else "works"

    def _new_end(self, asked: dict[str, Any] | None) -> str:
        hours = 24 if asked is None else asked["overlap_h"]
        if hours == 0:
            return "stops at once"
        ends = clock.now() + timedelta(hours=hours)
        if self.obj.expires_at is not None and self.obj.expires_at < ends:
            return f"works until {formats.clock(self.obj.expires_at)}"
        return f"works {hours} h more"

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        try:
            new, secret = services.rotate(
                self.obj, actor=actor, overlap_s=asked["overlap_h"] * _HOUR_S, reason=asked["reason"]
            )
        except KeyNotUsable as error:
            raise StaleState(error.message) from None
        old = VirtualKey.objects.get(pk=self.obj.pk)
        ends = f"The old one works until {formats.clock(old.expires_at)}." if old.expires_at else ""
        return _shown_once(new, f"“{self.name}” was rotated. {ends}", secret)


class RevokeKey(_OfKey):
    form_class = ReasonForm
    verb = "Revoke"
    busy = "Revoking…"
    is_dangerous = True

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(
            changes=[Change("State", key_states.of(self.obj), "revoked")],
            consequences=[self.lately(), "Its calls will be refused within a second. This cannot be undone."],
            seen=self.seen(),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        services.revoke(self.obj, actor=actor, reason=asked["reason"])
        return Done(f"{self.name} is revoked.", reverse("admin:key", kwargs={"key_id": str(self.obj.pk)}))
