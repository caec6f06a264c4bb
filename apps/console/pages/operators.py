"""Operators: their list, and one operator with the tokens that their scripts use."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet
from django.urls import reverse

from apps.console.lists import columns
from apps.console.lists.base import ListPage, prefix_or_word
from apps.console.lists.filters import Choice
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.templatetags import console as tags
from apps.core import clock
from apps.organizations import operators, rights, tokens
from apps.organizations.models import OperatorToken, User
from apps.organizations.rights import Right, Role

LIST = "admin:organizations_user_changelist"
TOKENS_MAX = 100


def url_of(user: User) -> str:
    return reverse("admin:operator", kwargs={"operator_id": str(user.public_id)})


def state_of(user: User) -> str:
    return "active" if user.is_active else "deactivated"


class OperatorList(ListPage):
    title = "Operators"
    noun = "operators"
    line = "Who uses this console, each with one role."
    search_help = "e-mail address or name"
    ordering = ("email",)
    export_name = "operators"
    columns = (
        columns.link("E-mail", lambda user: user.email, url_of, order="email"),
        columns.text("Name", lambda user: user.display_name, place="second"),
        columns.plain("Role", lambda user: user.role, place="second", order="role"),
        columns.state("State", state_of),
        columns.when("Last sign-in", lambda user: user.last_login, place="rest", order="last_login"),
        columns.when("Named", lambda user: user.created_at, place="rest", order="created_at"),
    )
    filters = (
        Choice("role", "Role", choices=[(role.value, role.value) for role in Role]),
        Choice(
            "state",
            "State",
            choices=(("active", "active"), ("deactivated", "deactivated")),
            conditions=lambda value: Q(is_active=value == "active"),
        ),
    )

    def buttons(self) -> Sequence[Button]:
        return (Button("Invite an operator", reverse("admin:operator_invite"), Right.OPERATORS_WRITE, True),)

    def get_rows(self) -> QuerySet[Any]:
        return operators.listing()

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(prefix_or_word(term, starts=("email",), contains=("display_name",)))


def token_state(token: OperatorToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at <= clock.now() else "active"


class OperatorPage(ObjectPage):
    route = "operator"
    tabs = (Tab("", "Overview", "console/pages/operator.html"),)
    obj: User

    def load(self, operator_id: str = "", **kwargs: Any) -> None:
        self.obj = operators.find(operator_id)
        self.title = self.obj.email

    def url_kwargs(self) -> dict[str, Any]:
        return {"operator_id": str(self.obj.public_id)}

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Operators", reverse(LIST)),)

    def state(self) -> str:
        return state_of(self.obj)

    def sentence(self) -> str:
        if not self.obj.is_active:
            return "Deactivated: cannot sign in, and none of the tokens works."
        return f"Active, with the role {self.obj.role}."

    def about(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Name", tags.text(self.obj.display_name) or "none"),
            ("Role", self.obj.role),
            ("Last sign-in", tags.when(self.obj.last_login, "never")),
            ("Named", tags.when(self.obj.created_at)),
            ("Id", tags.ident(self.obj.public_id)),
        )

    def may_manage(self) -> bool:
        below = self.obj.role not in (Role.OWNER, Role.ADMIN)
        return rights.holds(self.operator.role, Right.OPERATORS_WRITE, within=below)

    def buttons(self) -> Sequence[Button]:
        if not self.may_manage():
            return ()
        found = [Button("Issue a token", self._at("operator_issue_token"), Right.OPERATORS_WRITE)]
        if self.obj.pk != self.operator.pk:
            found.append(Button("Change role", self._at("operator_role"), Right.OPERATORS_WRITE))
            if self.obj.is_active:
                gone = self._at("operator_deactivate")
                found.append(Button("Deactivate", gone, Right.OPERATORS_WRITE, is_dangerous=True))
            else:
                found.append(Button("Activate", self._at("operator_activate"), Right.OPERATORS_WRITE, True))
        return found

    def _at(self, route: str) -> str:
        return reverse(f"admin:{route}", kwargs=self.url_kwargs())

    def tab_overview(self) -> dict[str, Any]:
        found = list(tokens.listing(self.obj)[:TOKENS_MAX])
        return {"tokens": [(token, token_state(token)) for token in found], "may_manage": self.may_manage()}
