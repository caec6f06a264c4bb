"""Prompts, answers and secrets are on no page, and hostile text stays text."""

import pytest
from django.utils.html import escape

from apps.core.models import AuditEntry
from apps.jobs.models import Attempt, Call, Job
from apps.teams.models import Team
from tests import make
from tests.admin.rows import SECRET_PROMPT, fill

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202egnp.exe", "x" * 255]


@pytest.mark.parametrize("page", ["jobs/attempt/?call__payload__request__contains=a"])
def test_contents_cannot_be_guessed_through_relations(site, page):
    fill(1)
    assert site.get(f"/admin/{page}").status_code == 400


def test_prompt_is_on_no_page_of_a_job(site):
    fill(1)
    job, call, attempt = Job.objects.first(), Call.objects.first(), Attempt.objects.first()
    pages = [
        "/admin/jobs/job/",
        f"/admin/job/{job.pk}/",
        f"/admin/job/{job.pk}/?call={call.pk}",
        "/admin/jobs/call/",
        "/admin/jobs/attempt/",
        f"/admin/jobs/attempt/{attempt.pk}/change/",
        "/admin/core/event/",
        "/admin/core/idempotencykey/",
    ]
    assert [page for page in pages if SECRET_PROMPT in site.get(page).content.decode()] == []


def test_kept_secret_of_an_answer_cannot_be_guessed_by_filters(site):
    fill(1)
    assert site.get("/admin/core/idempotencykey/", {"secret__startswith": "g"}).status_code == 400


@pytest.mark.parametrize("text", HOSTILE, ids=["script", "attribute", "direction", "long"])
def test_hostile_text_stays_text_on_every_page(site, acme, text):
    team = acme.team
    Team.objects.filter(pk=team.pk).update(alias=text, status_reason=text, metadata={"a": text})
    job = Job.objects.create(
        team=team, organization=acme.organization, job_type=text[:100], user_id=text, metadata={text: text}
    )
    AuditEntry.objects.create(
        actor=text, action="x", object_kind="x", object_id=text, before={"a": text}, reason=text
    )
    audit = AuditEntry.objects.get(action="x")
    pages = [
        "/admin/teams/team/",
        f"/admin/team/{team.team_id}/",
        f"/admin/team/{team.team_id}/suspend/",
        f"/admin/team/{team.team_id}/grant/",
        "/admin/jobs/job/",
        f"/admin/job/{job.pk}/",
        "/admin/core/auditentry/",
        f"/admin/core/auditentry/{audit.pk}/change/",
    ]
    assert escape(text) in site.get(pages[1]).content.decode()
    for page in pages:
        content = site.get(page).content.decode()
        assert "<script>alert(1)" not in content
        assert "<img src=x" not in content


def test_long_text_is_cut_in_lists_and_isolated(site, acme):
    Team.objects.filter(pk=acme.team.pk).update(alias="\u202e" + "y" * 200)
    content = site.get("/admin/teams/team/").content.decode()
    assert "<bdi>\u202e" + "y" * 79 + "</bdi>… <span>more</span>" in content


def test_hostile_name_is_escaped_in_the_messages_about_it(site):
    make.organization("acme-org")
    page = site.post("/admin/teams/team/add/", {"team_id": HOSTILE[0], "organization": "<script>alert(1)"})
    assert "<script>alert(1)" not in page.content.decode()


def test_pages_carry_amounts_with_their_unit_and_no_raw_micros(site):
    fill(1)
    page = site.get("/admin/credits/entry/").content.decode()
    assert ">Credits</th>" in page
    assert "1.5" in page
    assert "1500000" not in page
