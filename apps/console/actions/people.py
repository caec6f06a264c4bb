"""Operators and their tokens: invite, change the role, deactivate, issue and revoke. By the services of the API."""

from typing import Any

from django import forms
from django.urls import reverse

from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, ReasonForm, StaleState
from apps.core.actors import Actor
from apps.organizations import operators, tokens
from apps.organizations.identity import Operator
from apps.organizations.models import OperatorToken, User
from apps.organizations.rights import Right, Role

_ROLES = [(role.value, role.value) for role in Role]
_BELOW = (Role.BILLING, Role.SUPPORT, Role.VIEWER)


class _People(Action):
    """What it asks of a right held in part, the service judges by the roles concerned."""

    right = Right.OPERATORS_WRITE
    obj: User

    def by(self, actor: Actor) -> Operator:
        return Operator(actor, self.operator.role, self.operator)

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return asked is None or asked.get("role") in (None, "", *_BELOW)


class InviteForm(ActionForm):
    email = forms.EmailField(label="E-mail", max_length=254)
    display_name = forms.CharField(label="Name", max_length=255, required=False)
    role = forms.ChoiceField(choices=_ROLES, initial=Role.VIEWER.value)


class InviteOperator(_People):
    form_class = InviteForm
    title = "Invite an operator"
    verb = "Invite"
    busy = "Inviting…"

    def load(self, **kwargs: Any) -> None:
        pass

    def back_url(self) -> str:
        return reverse("admin:organizations_user_changelist")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(consequences=["They can sign in with OpenID Connect, or once they have a password."])

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        user = operators.create(
            email=asked["email"], role=asked["role"], display_name=asked["display_name"], by=self.by(actor)
        )
        return Done(f"{user.email} is an operator of role {user.role}.", _url(user))


class _OfOperator(_People):
    def load(self, operator_id: str = "", **kwargs: Any) -> None:
        self.obj = operators.find(operator_id)
        self.title = f"{self.verb}: {self.obj.email}"
        if self.obj.role not in _BELOW:
            # Before anything is shown: who holds the right in part manages neither owners nor admins.
            self.require_right_to({"role": self.obj.role})

    def back_url(self) -> str:
        return _url(self.obj)

    def change(self, wanted: operators.Change, asked: dict[str, Any], actor: Actor) -> User:
        return operators.change(self.obj, wanted, by=self.by(actor), reason=asked["reason"])


class RoleForm(ReasonForm):
    role = forms.ChoiceField(choices=_ROLES)


class ChangeRole(_OfOperator):
    form_class = RoleForm
    verb = "Change role"
    busy = "Changing…"
    is_live = True

    def initial(self) -> dict[str, Any]:
        return {"role": self.obj.role, **super().initial()}

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        after = asked["role"] if asked else self.obj.role
        return Preview(
            changes=[Change("Role", self.obj.role, after)],
            consequences=["Their tokens can do no more than the new role, from now on."],
            seen=self.obj.role,
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        user = operators.change(
            self.obj, operators.Change(role=asked["role"]), by=self.by(actor), reason=asked["reason"]
        )
        return Done(f"{user.email} has the role {user.role}.", _url(user))


class _OperatorState(_OfOperator):
    to_active: bool

    def require_possible(self) -> None:
        if self.obj.is_active == self.to_active:
            raise StaleState(f"{self.obj.email} is {'active' if self.obj.is_active else 'deactivated'} already.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        words = {True: "active", False: "deactivated"}
        return Preview(
            changes=[Change("State", words[self.obj.is_active], words[self.to_active])],
            consequences=[self.consequence],
            seen=words[self.obj.is_active],
        )

    consequence = ""

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        user = operators.change(
            self.obj, operators.Change(is_active=self.to_active), by=self.by(actor), reason=asked["reason"]
        )
        return Done(f"{user.email} is {'active' if user.is_active else 'deactivated'}.", _url(user))


class DeactivateOperator(_OperatorState):
    verb = "Deactivate"
    busy = "Deactivating…"
    is_dangerous = True
    to_active = False
    consequence = "They are signed out, and their tokens are refused, at once. What they did stays on record."


class ActivateOperator(_OperatorState):
    verb = "Activate"
    busy = "Activating…"
    to_active = True
    consequence = "They can sign in again, and their unexpired tokens work again."


class TokenForm(ActionForm):
    name = forms.CharField(max_length=tokens.NAME_MAX, help_text="what it is for")
    scopes = forms.MultipleChoiceField(
        choices=[(right.value, right.value) for right in Right],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="none: all that the operator's role may do",
    )


class IssueToken(_OfOperator):
    form_class = TokenForm
    verb = "Issue a token"
    busy = "Issuing…"

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(consequences=["The token is shown once. It is kept nowhere."])

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        token, secret = tokens.issue(self.obj, by=self.by(actor), name=asked["name"], scopes=asked["scopes"])
        said = f"Token {token.name} was issued."
        return Done(said, _url(self.obj), secret=secret, secret_label="Token")  # noqa: S106 -- the word beside it


class RevokeToken(_OfOperator):
    form_class = ActionForm
    verb = "Revoke"
    busy = "Revoking…"
    is_dangerous = True
    token: OperatorToken

    def load(self, operator_id: str = "", token_id: str = "", **kwargs: Any) -> None:
        super().load(operator_id)
        self.token = tokens.find(self.obj, token_id)
        self.title = f"Revoke {self.token.name} ({self.token.prefix}…)?"

    def scope(self) -> str:
        return f"{super().scope()[:250]}:{self.token.pk}"

    def require_possible(self) -> None:
        if self.token.revoked_at is not None:
            raise StaleState("The token is revoked already.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(consequences=["It is refused from now on. This cannot be undone."])

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        token = tokens.revoke(self.token, by=self.by(actor))
        return Done(f"Token {token.name} is revoked.", _url(self.obj))


def _url(user: User) -> str:
    return reverse("admin:operator", kwargs={"operator_id": str(user.public_id)})
