"""Search everywhere, and the address that leads from any public id to its page.

The shape of the term picks where to look: ids, key prefixes, e-mails, names. It is sent by POST, since people paste
whole keys: of those the prefix alone is used, and nothing is kept. At most eight queries.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.catalog.models import ModelAlias
from apps.console import links
from apps.console.navigation import SECTIONS
from apps.console.pages.base import Page
from apps.core.ids import parse_uuid
from apps.credits.models import Entry, Grant
from apps.jobs.models import Call, Job
from apps.limits.models import Decision
from apps.organizations.models import Organization, User
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey

_A_KIND_MAX = 5
_ALL_MAX = 20
_TERM_MAX = 300


@dataclass(frozen=True, slots=True)
class Hit:
    kind: str
    name: str
    detail: str
    url: str


@dataclass(frozen=True, slots=True)
class Found:
    hits: list[Hit]
    note: str = ""


# Kinds of things with UUIDs: the model, its word, the route of its page and what that calls the id.
_BY_UUID: tuple[tuple[Any, str, str, str], ...] = (
    (Job, "job", "admin:job", "job_id"),
    (Call, "call", "admin:call", "call_id"),
    (Decision, "refusal", "admin:decision", "decision_id"),
    (Entry, "entry", "admin:entry", "entry_id"),
    (Grant, "grant", "admin:grant", "grant_id"),
    (VirtualKey, "key", "admin:key", "key_id"),
)


def find(term: str) -> Found:
    """What a term means: an exact id first, then prefixes and names."""
    term = term.strip()[:_TERM_MAX]
    if not term or "\x00" in term:
        return Found([])
    asked = parse_uuid(term) if len(term) in (32, 36) else None
    if asked is not None:
        return Found(list(_by_uuid(asked)))
    if term.startswith("sk-"):
        return _by_key(term)
    hits: list[Hit] = []
    if re.fullmatch(r"[0-9a-fA-F-]{8,35}", term):
        hits += _by_tail(term.lower())
    hits += _by_name(term)
    return Found(hits[:_ALL_MAX])


def _by_uuid(asked: UUID) -> Iterable[Hit]:
    for model, word, route, name in _BY_UUID:
        if model._default_manager.filter(pk=asked).exists():
            yield Hit(word, str(asked), "", reverse(route, kwargs={name: str(asked)}))


def _by_tail(term: str) -> list[Hit]:
    """Jobs by the first or the last characters of their id, as lists show them."""
    rows = Job.objects.select_related("team").order_by("-created_at")[:2000]
    bare = term.replace("-", "")
    found = [job for job in rows if job.pk.hex.startswith(bare) or job.pk.hex.endswith(bare)][:_A_KIND_MAX]
    return [Hit("job", str(job.pk), f"{job.team.team_id} · {job.status}", links.job(job.pk)) for job in found]


def _by_key(term: str) -> Found:
    prefixes = VirtualKey.objects.select_related("team").filter(prefix__startswith=term[:11])[:_A_KIND_MAX]
    hits = [Hit("key", f"{key.prefix}…", f"{key.name} · {key.team.team_id}", links.key(key.pk)) for key in prefixes]
    note = "You pasted a whole key. It was not stored; consider rotating it." if len(term) > 20 else ""
    return Found(hits, note)


def _by_name(term: str) -> list[Hit]:
    hits: list[Hit] = []
    organizations = Organization.objects.filter(Q(organization_id__istartswith=term) | Q(name__icontains=term))
    hits += [
        Hit(
            "organization",
            each.name,
            f"{each.organization_id} · {each.status}",
            links.organization(each.organization_id),
        )
        for each in organizations[:_A_KIND_MAX]
    ]
    teams = Team.objects.select_related("organization").filter(
        Q(team_id__istartswith=term) | Q(alias__icontains=term)
    )
    hits += [
        Hit(
            "team",
            each.team_id,
            f"{each.organization.organization_id} · {each.status}",
            links.team(each.team_id),
        )
        for each in teams[:_A_KIND_MAX]
    ]
    keys = VirtualKey.objects.select_related("team").filter(name__icontains=term)
    hits += [
        Hit("key", each.name, f"{each.prefix}… · {each.team.team_id}", links.key(each.pk))
        for each in keys[:_A_KIND_MAX]
    ]
    aliases = ModelAlias.objects.filter(name__istartswith=term)
    hits += [
        Hit("alias", each.name, "", reverse("admin:catalog_modelalias_change", args=[each.pk]))
        for each in aliases[:_A_KIND_MAX]
    ]
    people = User.objects.filter(Q(email__istartswith=term) | Q(display_name__icontains=term))
    hits += [
        Hit(
            "operator" if each.role else "member",
            each.email,
            each.role,
            reverse("admin:organizations_user_change", args=[each.pk]),
        )
        for each in people[:_A_KIND_MAX]
    ]
    hits += [
        Hit("page", item.title, section.title, reverse(item.route))
        for section in SECTIONS
        for item in section.items
        if term.lower() in item.title.lower()
    ]
    return hits


class Search(Page):
    """POST with `term`: a page of hits, or with `fragment` the hits alone for the dialog."""

    template_name = "console/pages/search.html"
    title = "Search"

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        term = request.POST.get("term", "")
        found = find(term)
        # A whole key is not written back into the page either.
        shown = f"{term[:11]}…" if term.startswith("sk-") else term[:_TERM_MAX]
        context = {"hits": found.hits, "note": found.note, "term": shown}
        if "fragment" in request.POST:
            return self.render(request, context, template="console/parts/hits.html")
        return self.render(request, context)


class Go(Page):
    """`/admin/go/<any public id>/`: what mails, logs and errors print."""

    def get(self, request: HttpRequest, public_id: str = "", **kwargs: Any) -> HttpResponse:
        hits = [hit for hit in find(public_id).hits if hit.kind != "page"]
        exact = [hit for hit in hits if public_id in (hit.name, hit.detail.split(" · ")[0])] or hits
        if not exact:
            raise Http404(f"Nothing has the id {public_id}")
        return HttpResponseRedirect(exact[0].url)
