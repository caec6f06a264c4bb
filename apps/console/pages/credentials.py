"""Providers' keys: whose, of which provider, since when. The key itself is never read."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.db.models import Q, QuerySet
from django.urls import reverse

from apps.catalog import credentials
from apps.catalog.models import ProviderCredential
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage
from apps.console.lists.filters import ORGANIZATION, Choice
from apps.console.pages.base import Button
from apps.console.pages.catalog import mark, turn
from apps.organizations.rights import Right


def _host(credential: ProviderCredential) -> str:
    return urlsplit(credential.api_base).hostname or "the provider's own"


def _active(value: str) -> Q:
    return Q(is_active=value == "active")


class CredentialList(ListPage):
    title = "Provider credentials"
    noun = "provider credentials"
    line = "A provider's key for one organization, or for all that have none of their own. It can be set, never read."
    search_help = "name or organization"
    ordering = ("-id",)
    export_name = "provider-credentials"
    empty = Empty(
        "No credentials: calls go through the configured LiteLLM with its own.",
        "Add credential",
        "/admin/catalog/providercredential/add/",
    )
    columns = (
        columns.link(
            "Name",
            lambda credential: credential.name,
            lambda credential: reverse("admin:catalog_providercredential_change", args=[credential.pk]),
        ),
        columns.text(
            "Owner",
            lambda credential: credential.organization.organization_id if credential.organization else "platform",
            place="second",
        ),
        columns.plain("Provider", lambda credential: credential.get_provider_display(), place="amount"),
        columns.text("Host", _host),
        columns.when("Set", lambda credential: credential.created_at, place="rest"),
        columns.when("Changed", lambda credential: credential.updated_at, place="rest"),
        columns.state("State", lambda credential: "active" if credential.is_active else "inactive"),
        turn("credential", Right.CREDENTIALS_WRITE),
    )
    filters = (
        Choice("provider", "Provider", choices=ProviderCredential.Provider.choices),
        Choice("state", "State", choices=(("active", "active"), ("inactive", "inactive")), conditions=_active),
        ORGANIZATION,
    )

    def get_rows(self) -> QuerySet[Any]:
        return credentials.matching()

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(Q(name__icontains=term) | Q(organization__organization_id__istartswith=term))

    def buttons(self) -> Sequence[Button]:
        add = reverse("admin:catalog_providercredential_add")
        return (Button("Add credential", add, Right.CREDENTIALS_WRITE, is_main=True),)

    def decorate(self, rows: Sequence[Any]) -> None:
        mark(self, rows, Right.CREDENTIALS_WRITE)
