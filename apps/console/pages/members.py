"""Members: the customers' people who sign in, of all organizations."""

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.html import format_html

from apps.console import links
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, prefix_or_word
from apps.console.lists.columns import Column
from apps.console.lists.filters import ORGANIZATION, Choice
from apps.organizations.models import Membership


def _kwargs(member: Membership) -> dict[str, str]:
    return {"organization_id": member.organization.organization_id, "user_id": str(member.user.public_id)}


def _actions(member: Membership) -> Any:
    """Links to what can be done; whoever may not is told so there."""
    return format_html(
        '<a href="{}" aria-label="Change the role of {}">Role</a> · <a href="{}" aria-label="Remove {}">Remove</a>',
        reverse("admin:member_role", kwargs=_kwargs(member)),
        member.user.email,
        reverse("admin:member_remove", kwargs=_kwargs(member)),
        member.user.email,
    )


def member_columns(*, with_organization: bool, may_change: bool) -> tuple[Column, ...]:
    """The columns of members, in their list and on their organization's page."""
    of = (
        columns.link(
            "Organization",
            lambda row: row.organization.organization_id,
            lambda row: links.organization(row.organization.organization_id, "members"),
            place="second",
        ),
    )
    return (
        columns.text("E-mail", lambda row: row.user.email, place="first"),
        columns.text("Name", lambda row: row.user.display_name),
        *(of if with_organization else ()),
        columns.plain("Role", lambda row: row.role, place="second"),
        columns.state("State", lambda row: "active" if row.user.is_active else "inactive"),
        columns.when("Last seen", lambda row: row.user.last_login, place="rest"),
        columns.when("Since", lambda row: row.created_at, place="rest"),
        *((Column("Change", _actions, lambda row: "", "second"),) if may_change else ()),
    )


class MemberList(ListPage):
    title = "Members"
    noun = "members"
    line = "Members are the customers' people. They are invited on their organization's page."
    search_help = "e-mail, name or organization"
    ordering = ("organization__organization_id", "user__email")
    export_name = "members"
    empty = Empty("Invite one on the page of an organization.")
    columns = member_columns(with_organization=True, may_change=False)
    filters = (
        ORGANIZATION,
        Choice("role", "Role", choices=Membership.Role.choices),
    )

    def get_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = Membership.objects.select_related("user", "organization")
        return rows

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        found = prefix_or_word(
            term, starts=("user__email", "organization__organization_id"), contains=("user__display_name",)
        )
        narrowed: QuerySet[Any] = rows.filter(found)
        return narrowed
