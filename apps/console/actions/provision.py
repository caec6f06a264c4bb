"""Provision a customer: from nothing to a call that works, in one form and one transaction."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from apps.catalog.models import ModelAlias
from apps.console import formats, links, team_models
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview
from apps.console.actions.keys import MomentField
from apps.core import idempotency
from apps.core.actors import Actor
from apps.core.ids import is_public_id
from apps.core.money import MAX_CREDITS, MICROS
from apps.credits.models import Grant
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.provisioning import services
from apps.provisioning.services import CreditTerms, CustomerPlan, KeyPlan, TeamPlan
from apps.teams.models import Team
from apps.virtual_keys.services import SCOPES

_NEW, _EXISTING = "new", "existing"
_PLAIN = {"autocomplete": "off"}
CREDIT_FIELDS = ("credits", "kind", "credits_expire_at", "payment_id", "payment_usd")
KEY_FIELDS = ("has_key", "key_name", "scopes", "key_expires_at")


def _words(**more: str) -> forms.TextInput:
    return forms.TextInput(attrs=_PLAIN | more)


class ProvisionForm(ActionForm):
    """Everything has a default but the names."""

    organization = forms.ChoiceField(
        choices=[(_NEW, "a new organization"), (_EXISTING, "an organization that exists")],
        initial=_NEW,
        widget=forms.RadioSelect,
    )
    name = forms.CharField(
        max_length=255, required=False, label="Name of the organization", help_text="of a new one", widget=_words()
    )
    organization_id = forms.CharField(
        max_length=255,
        label="Organization id",
        help_text="what API callers use; a new one cannot be changed later and is never reused",
        widget=_words(**{"data-proposed-from": "name"}),
    )
    team_id = forms.CharField(
        max_length=255,
        label="Team id",
        help_text="what API callers use; it cannot be changed and is never reused",
        widget=_words(**{"data-proposed-from": "organization_id", "data-proposed-end": "-main"}),
    )
    alias = forms.CharField(max_length=255, required=False, label="Name of the team", widget=_words())
    access_groups = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Access groups and aliases",
        help_text="what its calls may name, besides aliases that are open to all",
    )
    model_groups = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    default_model = forms.CharField(
        max_length=255,
        required=False,
        help_text="an alias or a model group, for calls that name none; empty: the platform's",
        widget=_words(),
    )
    credits = forms.IntegerField(min_value=0, max_value=MAX_CREDITS, initial=100, help_text="whole credits, to start")
    kind = forms.ChoiceField(
        choices=Grant.Kind.choices, initial=Grant.Kind.PAID, required=False, label="Kind of credits"
    )
    credits_expire_at = MomentField(required=False, label="Credits expire", help_text="empty: never")
    payment_id = forms.CharField(
        max_length=255, required=False, label="Payment reference", help_text="it counts once", widget=_words()
    )
    payment_usd = forms.DecimalField(
        required=False,
        min_value=Decimal("0.01"),
        max_value=Decimal(10**9),
        decimal_places=2,
        label="Paid, in dollars",
        help_text="what the credits were sold for",
    )
    has_key = forms.BooleanField(required=False, initial=True, label="Issue a key")
    key_name = forms.CharField(max_length=255, required=False, initial="first key", label="Name of the key")
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="none chosen: all",
    )
    key_expires_at = MomentField(required=False, label="Key expires", help_text="empty: never")

    def __init__(self, *args: Any, may_grant: bool, may_issue: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        team_models.offer(self)
        for name in (*(() if may_grant else CREDIT_FIELDS), *(() if may_issue else KEY_FIELDS)):
            del self.fields[name]

    def clean_organization_id(self) -> str:
        asked = str(self.cleaned_data["organization_id"])
        exists = Organization.objects.filter(organization_id=asked).exists()
        if self.cleaned_data.get("organization") == _EXISTING:
            if not exists:
                raise ValidationError(f"There is no organization “{asked}”.")
        elif exists:
            raise ValidationError(f"“{asked}” is taken. Choose another id, or the organization that exists.")
        return asked

    def clean_team_id(self) -> str:
        asked = str(self.cleaned_data["team_id"])
        if Team.objects.filter(team_id=asked).exists():
            raise ValidationError(f"“{asked}” is taken. Ids are never reused; choose another.")
        return asked

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if given.get("organization") == _NEW and not given.get("name"):
            self.add_error("name", "A new organization needs a name.")
        paid = given.get("payment_id") or given.get("payment_usd")
        if paid and not given.get("credits"):
            self.add_error("credits", "A payment is for credits: say how many.")
        return given


class Provision(Action):
    """The same service as `POST /api/provision`."""

    right = Right.CUSTOMERS_WRITE
    title = "Provision a customer"
    template_name = "console/pages/provision.html"
    verb = "Create customer"
    busy = "Creating…"
    is_live = True

    form_class = ProvisionForm

    def load(self, **kwargs: Any) -> None:
        self.obj = None

    def doing(self) -> str:
        return "provision customers"

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return False

    def back_url(self) -> str:
        return reverse("admin:teams_team_changelist")

    def form_kwargs(self) -> dict[str, Any]:
        return {
            "may_grant": self.operator.holds(Right.CREDITS_WRITE),
            "may_issue": self.operator.holds(Right.KEYS_WRITE),
        }

    def initial(self) -> dict[str, Any]:
        """`?organization=<id>`: another team of an organization that exists."""
        given = super().initial()
        named = given.pop("organization", "")
        if named:
            given |= {"organization": _EXISTING, "organization_id": named}
        return given

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        # Sent a second time its ids are taken, by the first: its answer comes before they are judged.
        self.load(**kwargs)
        return self.repeated(request) or super().post(request, **kwargs)

    def repeated(self, request: HttpRequest) -> HttpResponse | None:
        once = request.POST.get("once", "")
        known = idempotency.known(self.scope(), once) if "preview" not in request.POST and once else None
        return None if known is None else self.show(request, known, is_replay=True)

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        if asked is None:
            return Preview(consequences=self._taken())
        new = asked["organization"] == _NEW
        lines = [
            Change("Organization", "" if new else asked["organization_id"], asked["organization_id"]),
            Change("Team", "", asked["team_id"]),
            Change("Models", "", _listed([*asked.get("access_groups", []), *asked.get("model_groups", [])])),
            Change("A call without a name gets", "", asked["default_model"] or _platform_default()),
        ]
        if "credits" in asked:
            lines.append(Change("Credits", "0", _credits(asked)))
        if "has_key" in asked:
            lines.append(Change("Key", "", asked["key_name"] or "unnamed" if asked["has_key"] else ""))
        return Preview(lines, ["All of it is made at once, or nothing."])

    def _taken(self) -> list[str]:
        """Ids that cannot be had, while the form is being filled in."""
        typed = self.request.POST
        said = []
        team_id = typed.get("team_id", "")
        if team_id and is_public_id(team_id) and Team.objects.filter(team_id=team_id).exists():
            said.append(f"The team id {team_id} is taken.")
        organization_id = typed.get("organization_id", "")
        if organization_id and is_public_id(organization_id):
            exists = Organization.objects.filter(organization_id=organization_id).exists()
            if exists and typed.get("organization") == _NEW:
                said.append(f"The organization id {organization_id} is taken.")
            if not exists and typed.get("organization") == _EXISTING:
                said.append(f"There is no organization {organization_id}.")
        return said

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        made = services.provision(_plan(asked), actor=actor)
        more = {
            "organization_id": made.organization.organization_id,
            "team_id": made.team.team_id,
            "prefix": made.key.prefix if made.key else "",
        }
        return Done(
            f"{made.team.team_id} can call." if made.secret else f"{made.team.team_id} was created.",
            links.team(made.team.team_id),
            secret=made.secret or "",
            secret_label="First key" if made.secret else "",
            more=more,
        )

    def show(self, request: HttpRequest, slot: idempotency.Slot, *, is_replay: bool) -> HttpResponse:
        if not slot.result["secret_label"]:
            return super().show(request, slot, is_replay=is_replay)
        context = {
            "done": slot.result,
            "secret": slot.secret(),
            "is_replay": is_replay,
            "title": slot.result["message"],
            "base_url": request.build_absolute_uri("/").rstrip("/"),
            "invite_url": links.maybe("org_invite", organization_id=slot.result["organization_id"]),
        }
        return self.render(request, context, template="console/actions/provisioned.html")


def _plan(asked: dict[str, Any]) -> CustomerPlan:
    new = asked["organization"] == _NEW
    team = TeamPlan(
        team_id=asked["team_id"],
        alias=asked["alias"],
        access_groups=asked.get("access_groups", []),
        model_groups=asked.get("model_groups", []),
        default_model=asked["default_model"] or None,
        credits=asked.get("credits", 0),
        credit_terms=CreditTerms(
            kind=Grant.Kind(asked.get("kind") or Grant.Kind.PAID),
            expires_at=asked.get("credits_expire_at"),
            payment_id=asked.get("payment_id") or None,
            payment_usd=asked.get("payment_usd"),
        ),
        key=KeyPlan(
            name=asked.get("key_name") or "first key",
            scopes=asked.get("scopes", []),
            expires_at=asked.get("key_expires_at"),
        ),
    )
    return CustomerPlan(
        organization_id=asked["organization_id"],
        new_organization=asked["name"] if new else None,
        team=team,
        has_key=asked.get("has_key", False),
    )


def _credits(asked: dict[str, Any]) -> str:
    text = formats.credits(asked["credits"] * MICROS)
    return f"{text} {asked['kind']}" if asked["credits"] and asked["kind"] else text


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "those open to all"


def _platform_default() -> str:
    return (
        ModelAlias.objects.filter(is_default=True).values_list("name", flat=True).first() or "nothing: it is refused"
    )
