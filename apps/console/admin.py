"""Organizations, members, teams and keys in Django's registry: other pages choose them by typing, and the addresses
that their plain pages had lead to the console's."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.console import links
from apps.core.admin_base import ReadOnlyAdmin
from apps.core.models import AuditEntry
from apps.organizations.models import Membership, Organization
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey


class LedByConsole(ReadOnlyAdmin):
    """Rows whose list and pages are the console's."""

    def page_url(self, obj: Any) -> str:
        raise NotImplementedError

    def add_url(self) -> str:
        return reverse("admin:provision")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method != "GET" or not self.has_view_permission(request):
            raise PermissionDenied
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404
        return HttpResponseRedirect(self.page_url(obj))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method != "GET":
            raise PermissionDenied
        return HttpResponseRedirect(self.add_url())


@admin.register(Organization)
class OrganizationAdmin(LedByConsole):
    audit_kind = "organization"
    search_fields = ("organization_id", "name")
    fields = ("organization_id", "name")

    def audit_id(self, obj: Organization) -> str:
        return obj.organization_id

    def page_url(self, obj: Organization) -> str:
        return links.organization(obj.organization_id)


@admin.register(AuditEntry)
class AuditEntryAdmin(LedByConsole):
    fields = ("id", "action")

    def page_url(self, obj: AuditEntry) -> str:
        return reverse("admin:audit", kwargs={"audit_id": str(obj.pk)})

    def add_url(self) -> str:
        # Only services write it, each with what it did.
        raise PermissionDenied


@admin.register(VirtualKey)
class VirtualKeyAdmin(LedByConsole):
    audit_kind = "key"
    hidden_fields = ("digest",)
    search_fields = ("^prefix", "name", "team__team_id")
    fields = ("id", "name")

    def page_url(self, obj: VirtualKey) -> str:
        return links.key(obj.pk)

    def add_url(self) -> str:
        # A key is issued on its team's page.
        return reverse("admin:teams_team_changelist")


@admin.register(Membership)
class MembershipAdmin(LedByConsole):
    fields = ("organization", "user")

    def page_url(self, obj: Membership) -> str:
        return links.organization(obj.organization.organization_id, "members")

    def add_url(self) -> str:
        # A member is invited on their organization's page.
        return reverse("admin:organizations_organization_changelist")


@admin.register(Team)
class TeamAdmin(LedByConsole):
    audit_kind = "team"
    search_fields = ("team_id", "alias", "organization__organization_id")
    fields = ("team_id", "alias")
    ordering = ("team_id",)

    def audit_id(self, obj: Team) -> str:
        return obj.team_id

    def page_url(self, obj: Team) -> str:
        return links.team(obj.team_id)
