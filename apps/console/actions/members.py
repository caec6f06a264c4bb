"""Invite members of an organization, change their role, remove them: by the services that the API calls."""

from typing import Any

from django import forms

from apps.console import links
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview
from apps.core.actors import Actor
from apps.organizations import members, services
from apps.organizations.models import Membership, Organization
from apps.organizations.rights import Right

_NONE = "no member"


class OfMembers(Action):
    """Support may too: members are what it holds of this right."""

    right = Right.CUSTOMERS_WRITE
    organization: Organization

    def load(self, organization_id: str = "", **kwargs: Any) -> None:
        self.organization = services.find(organization_id)

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return True

    def doing(self) -> str:
        return "change members"

    def back_url(self) -> str:
        return links.organization(self.organization.organization_id, "members")


class InviteForm(ActionForm):
    email = forms.CharField(max_length=254, label="E-mail", widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    display_name = forms.CharField(max_length=255, required=False, label="Name")
    role = forms.ChoiceField(choices=Membership.Role.choices, initial=Membership.Role.VIEWER)


class InviteMember(OfMembers):
    form_class = InviteForm
    verb = "Invite"
    busy = "Inviting…"

    def load(self, organization_id: str = "", **kwargs: Any) -> None:
        super().load(organization_id)
        self.title = f"Invite a member of {self.organization.organization_id}"

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(consequences=["They see this organization alone, as far as their role goes."])

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        made = members.invite(
            self.organization,
            email=asked["email"],
            role=asked["role"],
            display_name=asked["display_name"],
            actor=actor,
        )
        return Done(f"{made.user.email} is {made.role} of {self.organization.organization_id}.", self.back_url())


class OfMember(OfMembers):
    """An action on one member."""

    obj: Membership

    def load(self, organization_id: str = "", user_id: str = "", **kwargs: Any) -> None:
        super().load(organization_id)
        self.obj = members.find(self.organization, user_id)
        self.title = f"{self.verb} {self.obj.user.email}?"


class RoleForm(ActionForm):
    role = forms.ChoiceField(choices=Membership.Role.choices)


class ChangeRole(OfMember):
    form_class = RoleForm
    verb = "Change role"
    busy = "Changing…"
    is_live = True

    def load(self, organization_id: str = "", user_id: str = "", **kwargs: Any) -> None:
        super().load(organization_id, user_id)
        self.title = f"Role of {self.obj.user.email}"

    def initial(self) -> dict[str, Any]:
        return {"role": self.obj.role} | super().initial()

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        role = self.obj.role if asked is None else asked["role"]
        return Preview([Change("Role", self.obj.role, role)], seen=self.obj.role)

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        members.set_role(self.obj, asked["role"], actor=actor)
        return Done(f"{self.obj.user.email} is {asked['role']}.", self.back_url())


class RemoveMember(OfMember):
    form_class = ActionForm
    verb = "Remove"
    busy = "Removing…"
    is_dangerous = True

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(
            [Change("Role", self.obj.role, _NONE)],
            [f"They no longer see {self.organization.organization_id}. They can be invited again."],
            seen=self.obj.role,
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        members.remove(self.obj, actor=actor)
        return Done(
            f"{self.obj.user.email} is no member of {self.organization.organization_id} any more.", self.back_url()
        )
