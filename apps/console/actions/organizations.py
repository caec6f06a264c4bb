"""Suspend, resume and edit organizations."""

import json
from typing import Any

from django import forms

from apps.console import links
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, StaleState
from apps.core.actors import Actor
from apps.core.admin_forms import ObjectField
from apps.jobs.models import Call, Job
from apps.organizations import services
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.payments import currencies


class OfOrganization(Action):
    """An action on an organization."""

    obj: Organization

    def load(self, organization_id: str = "", **kwargs: Any) -> None:
        self.obj = services.find(organization_id)
        self.title = f"{self.verb} {self.obj.organization_id}?"

    def doing(self) -> str:
        return f"{self.verb.lower()} organizations"

    def back_url(self) -> str:
        return links.organization(self.obj.organization_id)


class OrganizationState(OfOrganization):
    """An organization's new state."""

    right = Right.STATE_WRITE
    status: str

    def require_possible(self) -> None:
        if self.obj.status == self.status:
            raise StaleState(f"{self.obj.organization_id} is {self.obj.status} already.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview([Change("State", self.obj.status, self.status)], self.consequences(), seen=self.obj.status)

    def consequences(self) -> list[str]:
        raise NotImplementedError

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        services.set_status(self.obj, status=self.status, actor=actor, reason=asked["reason"])
        return Done(f"{self.obj.organization_id} is {self.status}.", self.back_url())


class SuspendOrganization(OrganizationState):
    verb = "Suspend"
    busy = "Suspending…"
    status = Organization.Status.SUSPENDED
    is_dangerous = True

    def consequences(self) -> list[str]:
        running = Call.objects.filter(job__organization=self.obj, state__in=Call.OPEN_STATES).count()
        jobs = Job.objects.filter(organization=self.obj, status__in=("pending", "in_progress")).count()
        return [
            "New jobs and calls of all its teams are refused within a second.",
            f"{running} running calls finish; {jobs} open jobs can still be completed. Keys and credits stay.",
        ]


class ResumeOrganization(OrganizationState):
    verb = "Resume"
    busy = "Resuming…"
    status = Organization.Status.ACTIVE

    def consequences(self) -> list[str]:
        why = f": “{self.obj.status_reason}”" if self.obj.status_reason else ""
        return ["Its teams work again at once, but those that are stopped themselves.", f"It is suspended{why}."]


class OrganizationForm(ActionForm):
    """An organization as it is to be."""

    name = forms.CharField(max_length=255)
    time_zone = forms.CharField(max_length=64, help_text="IANA name, e.g. Europe/Berlin: when its days begin")
    display_currency = forms.CharField(
        min_length=3, max_length=3, help_text="ISO 4217; in which it is shown its costs too, e.g. EUR"
    )
    metadata = ObjectField(
        required=False,
        initial=dict,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="a JSON object; empty for none",
    )


class EditOrganization(OfOrganization):
    right = Right.CUSTOMERS_WRITE
    form_class = OrganizationForm
    verb = "Edit"
    busy = "Saving…"
    is_live = True

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return False

    def load(self, organization_id: str = "", **kwargs: Any) -> None:
        super().load(organization_id)
        self.title = f"Edit {self.obj.organization_id}"

    def now(self) -> dict[str, Any]:
        names = ("name", "time_zone", "display_currency", "metadata")
        return {name: getattr(self.obj, name) for name in names}

    def initial(self) -> dict[str, Any]:
        return self.now() | super().initial()

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        before = self.now()
        after = before if asked is None else asked
        changes = [
            Change(name.replace("_", " ").capitalize(), _shown(value), _shown(after[name]))
            for name, value in before.items()
            if value != after[name]
        ]
        return Preview(changes, seen=f"{self.obj.updated_at.isoformat()}")

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        services.update(
            self.obj, actor=actor, name=asked["name"], metadata=asked["metadata"], time_zone=asked["time_zone"]
        )
        currency = currencies.parse_code("display_currency", asked["display_currency"])
        if currency != self.obj.display_currency:
            currencies.set_display_currency(self.obj, currency, actor=actor)
        return Done(f"{self.obj.organization_id} was saved.", self.back_url())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
