"""Organizations, teams and keys in Django's registry: other pages choose them by typing, and the addresses that their
plain pages had lead to the console's. Credits of a team are granted here until an action does it."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from apps.console import links
from apps.core import idempotency
from apps.core.admin_base import ReadOnlyAdmin, actor_of
from apps.core.admin_columns import with_unit
from apps.core.admin_forms import OnceForm
from apps.core.money import MAX_CREDITS, credits_to_micros, exact_credits
from apps.credits import billing
from apps.credits.models import Grant
from apps.organizations.models import Organization
from apps.provisioning import credits as provisioning
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey


class LedByConsole(ReadOnlyAdmin):
    """Rows whose list and pages are the console's."""

    def page_url(self, obj: Any) -> str:
        raise NotImplementedError

    def add_url(self) -> str:
        return reverse("admin:provision")

    def object_url(self, obj: Any) -> str:
        return self.page_url(obj)

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


class GrantForm(OnceForm):
    """Credits for a team, and why."""

    amount = forms.IntegerField(min_value=1, max_value=MAX_CREDITS, help_text="whole credits")
    kind = forms.ChoiceField(choices=Grant.Kind.choices, initial=Grant.Kind.PAID)
    reason = forms.CharField(
        max_length=500,
        help_text="kept in the ledger for ever",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )


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

    def get_urls(self) -> list[URLPattern]:
        grant = self.admin_site.admin_view(self.grant_view)
        return [path("<path:object_id>/grant-credits/", grant, name="teams_team_grant"), *super().get_urls()]

    def grant_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Grant credits: what is there now, how much, of which kind and why."""
        if not request.user.has_perm("credits.add_grant"):
            raise PermissionDenied
        team: Team | None = self.get_object(request, unquote(object_id))
        if team is None:
            raise Http404
        form = GrantForm(request.POST or None)
        return self.service_form(
            request,
            form,
            title=f"Grant credits to {team.team_id}",
            submit="Grant credits",
            act=lambda: self._grant_once(request, form, team),
            obj=team,
            facts=_balance_facts(team),
        )

    def _grant_once(self, request: HttpRequest, form: GrantForm, team: Team) -> HttpResponse:
        """Raises: IdempotencyConflict when the page was submitted before with other content."""
        with transaction.atomic():
            slot = idempotency.claim(form.as_request(f"grant:{team.team_id}"))
            if slot.is_replay:
                messages.warning(request, "This form was submitted before. Nothing was done a second time.")
            else:
                messages.success(request, _granted(request, form, team))
        return HttpResponseRedirect(self.page_url(team))


def _granted(request: HttpRequest, form: GrantForm, team: Team) -> str:
    given = form.cleaned_data
    amount_micros = credits_to_micros(given["amount"])
    entry = provisioning.add_credits(
        team,
        credits=given["amount"],
        actor=actor_of(request),
        key=f"admin:{given['once']}",
        kind=Grant.Kind(given["kind"]),
        reason=given["reason"],
    )
    after_micros = entry.credit_balance_micros or 0
    return (
        f"Granted {with_unit(amount_micros)} ({given['kind']}) to {team.team_id}. Posted balance:"
        f" {exact_credits(after_micros - amount_micros)} before, {exact_credits(after_micros)} after."
    )


def _balance_facts(team: Team) -> list[tuple[str, str]]:
    balance = billing.balance(team)
    amounts = (
        ("can be spent", balance.spendable_micros),
        ("held by open jobs", balance.held_micros),
        ("posted", balance.posted_micros),
        ("allocated", balance.allocated_micros),
        ("used", balance.used_micros),
        ("debt", balance.debt_micros),
    )
    return [(label, with_unit(micros)) for label, micros in amounts]
