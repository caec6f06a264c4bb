"""Jobs and calls in the console: lists in a constant number of queries, a page that says why a job cost that."""

import json
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from apps.core.ids import new_id
from apps.core.models import AuditEntry
from apps.credits import ledger
from apps.credits.models import Entry
from apps.jobs import execution, services, sweeper
from apps.jobs.models import Attempt, Call, CallPayload, Job
from apps.organizations import services as organizations
from tests import make
from tests.admin.rows import SECRET_PROMPT
from tests.console.conftest import confirm, text_of

JOBS, CALLS = "/admin/jobs/job/", "/admin/jobs/call/"


def job_of(customer, *, calls=1, job_type="resume", complete=True, **new):
    job, _ = services.open_job(customer.principal, services.NewJob(job_type, **new))
    for _ in range(calls):
        execution.run_call(str(submit(customer, job)))
    if complete:
        services.complete_job(customer.team, job_id=str(job.pk), verdict="completed", closed_by="key:x")
    return Job.objects.get(pk=job.pk)


_numbers = iter(range(10**6))


def submit(customer, job):
    body = {"messages": [{"role": "user", "content": SECRET_PROMPT}]}
    request = services.CallRequest(body=body, fingerprint=f"{next(_numbers)}")
    return services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to="").call_id


def page_of(job):
    return f"/admin/job/{job.pk}/"


def queries_of(client, url):
    """How many queries of work and money the page makes, the second time: banners ask for themselves now and then."""
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            page = client.get(url)
        assert page.status_code == 200, page.content[:500]
        own = ("jobs_", "credits_", "core_event", "core_auditentry")
        counts.append(sum(any(table in query["sql"] for table in own) for query in captured.captured_queries))
    return min(counts), page


pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.mark.parametrize("url", [JOBS, CALLS])
def test_lists_take_a_constant_number_of_queries(ana, acme, url):
    job_of(acme)
    few, _ = queries_of(ana, url)
    for _ in range(5):
        job_of(acme, calls=2)
    many, page = queries_of(ana, url)
    assert many == few
    assert many <= 8
    assert len(page.content) < 200_000


def test_page_takes_a_constant_number_of_queries(ana, acme):
    few, _ = queries_of(ana, page_of(job_of(acme)))
    many, page = queries_of(ana, page_of(job_of(acme, calls=7)))
    assert many == few
    assert many <= 12
    assert len(page.content) < 120_000


def test_page_says_what_happened_and_the_receipt_adds_up(ana, acme):
    job = job_of(acme, calls=2)
    page = ana.get(page_of(job))
    assert page.context["sentence"].startswith("Completed by its client. 2 calls. Charged 1 credit by ")
    assert sum(line.micros for line in page.context["lines"]) == job.charged_micros == 1_000_000
    assert sum(each.micros for each in page.context["paid"]) == job.charged_micros
    assert "1 credit = 1 (the flat price of a job)" in page.context["sentence"]


def test_refund_is_in_the_sum_and_in_the_money(ana, acme):
    job = job_of(acme)
    charge = Entry.objects.get(job=str(job.pk), kind=Entry.Kind.CHARGE)
    ledger.reverse(charge, amount_micros=400_000, actor=make.TESTER, key="1", reason="sorry")
    page = ana.get(page_of(job))
    assert sum(line.micros for line in page.context["lines"]) == 600_000
    assert "0.4 credits of it refunded." in page.context["sentence"]
    assert "sorry" in text_of(page)


def test_download_is_the_receipt_of_the_api(ana, client, acme, operator_headers):
    job = job_of(acme)
    file = ana.get(f"{page_of(job)}receipt.json")
    assert file["Content-Disposition"] == f'attachment; filename="receipt-{job.pk}.json"'
    api = client.get(f"/api/jobs/{job.pk}/receipt", headers=operator_headers)
    assert json.loads(file.content) == api.json()


def test_attempts_are_shown_with_the_failed_one_first(ana, acme):
    job = job_of(acme)
    call = Call.objects.get(job=job)
    Attempt.objects.create(
        call=call,
        claim=1,
        state="failed",
        error_code="provider_timeout",
        route="demo",
        provider_model="slow",
        worker="w",
        started_at=call.created_at - timedelta(milliseconds=1),
        ended_at=call.created_at + timedelta(milliseconds=19),
    )
    text = text_of(ana.get(page_of(job)))
    assert "attempt 1 failed (provider_timeout) after 20 ms" in text
    assert "attempt 2 succeeded" in text


def test_a_call_leads_to_its_place_on_the_jobs_page(ana, acme):
    job = job_of(acme, calls=2)
    call = Call.objects.filter(job=job).last()
    answer = ana.get(f"/admin/call/{call.pk}/")
    assert (answer.status_code, answer.url) == (302, f"/admin/job/{job.pk}/?call={call.pk}#call-{call.pk}")
    page = text_of(ana.get(answer.url))
    assert re.search(f'<details class="c-call" id="call-{call.pk}" open>', page)


def test_calls_beyond_a_hundred_are_on_pages_of_their_own(ana, acme):
    job = job_of(acme, complete=False)
    first = Call.objects.get(job=job)
    rows = []
    for _ in range(120):
        row = Call.objects.get(pk=first.pk)
        row.pk = new_id()
        rows.append(row)
    Call.objects.bulk_create(rows)
    page = ana.get(page_of(job))
    assert len(page.context["calls"]) == 100
    assert "100 more" in text_of(page)
    assert len(ana.get(f"{page_of(job)}?calls_from=101").context["calls"]) == 21
    last = page.context["receipt"].calls[-1]
    assert last.pk in [each.call.pk for each in ana.get(f"{page_of(job)}?call={last.pk}").context["calls"]]


def test_open_job_refreshes_until_it_ends(ana, acme):
    job = job_of(acme, complete=False)
    page = ana.get(page_of(job))
    assert 'data-poll="' in text_of(page)
    fragment = ana.get(page.context["poll_url"])
    assert "data-poll-end" not in text_of(fragment)
    services.complete_job(acme.team, job_id=str(job.pk), verdict="completed", closed_by="key:x")
    assert "data-poll-end" in text_of(ana.get(page.context["poll_url"]))
    assert 'data-poll="' not in text_of(ana.get(page_of(job)))


@pytest.mark.parametrize("url", ["/admin/job/nothing/", "/admin/job/0192e4a0-0000-7000-8000-000000000000/"])
def test_unknown_job_is_said_in_the_consoles_look(ana, url):
    page = ana.get(url)
    assert page.status_code == 404
    assert f"There is no job {url.split('/')[3]}." in text_of(page)
    assert "<h1" in text_of(page)


def test_not_found_is_json_for_whoever_is_no_operator(client, db):
    assert client.get("/admin/nothing-here/").status_code == 302
    assert client.get("/nothing-here/").json()


def test_old_addresses_lead_to_the_new_pages(ana, acme):
    job = job_of(acme)
    assert ana.get(f"/admin/jobs/job/{job.pk}/change/").url == page_of(job)
    assert ana.get("/admin/jobs/job/5/change/").status_code == 404


# Filters


@pytest.fixture
def jobs(acme):
    """One that ran, one that is open and one that failed."""
    done = job_of(acme, user_id="ann", metadata={"ref": "A-7", "n": 3})
    is_open = job_of(acme, job_type="other", complete=False)
    services.open_job(acme.principal, services.NewJob("failing"))
    failed = Job.objects.get(job_type="failing")
    services.complete_job(acme.team, job_id=str(failed.pk), verdict="failed", closed_by="key:x")
    return {"done": done, "open": is_open, "failed": failed}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("team=acme", {"done", "open", "failed"}),
        ("state=open", {"open"}),
        ("state=failed", {"failed"}),
        ("user=ann", {"done"}),
        ("type=other", {"open"}),
        ("charged=yes", {"done"}),
        ("charged=no", {"open", "failed"}),
        ("uncollected=yes", set()),
        ("closed_by=client", {"done", "failed"}),
        ("closed_by=sweeper", set()),
        ("failed_calls=no", {"done", "open", "failed"}),
        ("metadata=ref%3DA-7", {"done"}),
        ("metadata=ref%3DA-8", set()),
        ("metadata=n%3D3", {"done"}),
        ("credits_from=0.5", {"done"}),
        ("seconds_to=600", {"done", "failed"}),
        ("seconds_from=600", set()),
        ("model=chat-default", {"done", "open"}),
        ("error=anything", set()),
        ("q=ann", {"done"}),
    ],
)
def test_jobs_are_filtered(ana, jobs, query, found):
    page = ana.get(f"{JOBS}?{query}")
    assert [chip.value for chip in page.context["chips"] if chip.is_wrong] == []
    assert {name for name, job in jobs.items() if str(job.pk) in text_of(page)} == found
    assert sum(sum(series.values) for series in page.context["strip"].series) == len(found)


@pytest.mark.parametrize("query", ["state=done", "team=nobody", "metadata=x", "key=7", "credits_from=much"])
def test_what_means_nothing_is_said(ana, jobs, query):
    page = ana.get(f"{JOBS}?{query}")
    assert [chip.label for chip in page.context["chips"] if chip.is_wrong] == ["Ignored"]
    assert page.context["total"] == 3


def test_job_is_found_by_the_end_of_its_id(ana, jobs):
    done = jobs["done"]
    page = text_of(ana.get(f"{JOBS}?q={str(done.pk)[-8:]}"))
    assert str(done.pk) in page
    assert str(jobs["open"].pk) not in page


def test_filters_without_an_index_look_at_31_days(ana, jobs):
    Job.objects.filter(pk=jobs["done"].pk).update(created_at=timezone.now() - timedelta(days=40))
    page = ana.get(f"{JOBS}?user=ann&range=all")
    assert page.context["total"] == 0
    assert any("31 days at most" in chip.value for chip in page.context["chips"] if chip.is_wrong)
    assert ana.get(f"{JOBS}?user=ann&range=all&team=acme").context["total"] == 1


def test_a_bar_opens_exactly_its_rows(ana, jobs):
    strip = ana.get(JOBS).context["strip"]
    for link, values in zip(strip.links, zip(*[series.values for series in strip.series], strict=True), strict=True):
        if sum(values):
            assert ana.get(f"{JOBS}{link}").context["total"] == sum(values)


def test_export_has_whole_ids_and_exact_credits(ana, jobs):
    rows = b"".join(ana.post(JOBS).streaming_content).decode().splitlines()
    assert len(rows) == 4
    assert str(jobs["done"].pk) in rows[3]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=succeeded", 2),
        ("state=failed", 0),
        ("attempts=2", 1),
        ("flagged=yes", 1),
        ("flagged=no", 1),
        ("estimated=no", 1),
        ("route=demo", 2),
        ("worker=nobody", 0),
        ("waited_from=60", 0),
        ("model=chat-default", 2),
        ("provider=x", 0),
        ("team=acme", 2),
    ],
)
def test_calls_are_filtered(ana, acme, query, count):
    job = job_of(acme, calls=2)
    first = Call.objects.filter(job=job).first()
    Call.objects.filter(pk=first.pk).update(is_estimated=True)
    Attempt.objects.create(call=first, claim=2, state="failed", route="demo", provider_model="x", worker="w")
    page = ana.get(f"{CALLS}?{query}")
    assert [chip.value for chip in page.context["chips"] if chip.is_wrong] == []
    assert page.context["total"] == count


# Cancel


def test_cancel_says_what_it_costs_does_it_once_and_is_audited(ana, acme):
    job = job_of(acme, complete=False)
    url = f"{page_of(job)}cancel/"
    page = ana.get(url)
    assert "By card policy" in text_of(page)
    assert Job.objects.get(pk=job.pk).status == "in_progress"
    form = {
        "once": str(page.context["form"]["once"].value()),
        "seen": page.context["preview"].seen,
        "reason": "asked to",
    }
    first, second = ana.post(url, form), ana.post(url, form)
    assert (first.status_code, first.url) == (second.status_code, second.url) == (303, page_of(job))
    job.refresh_from_db()
    assert (job.status, job.closed_by, job.error_message) == ("cancelled", "operator", "asked to")
    row = AuditEntry.objects.get(action="job.cancel")
    assert (row.actor, row.reason, row.object_id) == ("operator:ana@example.com", "asked to", str(job.pk))
    assert "Cancelled by an operator: asked to." in ana.get(page_of(job)).context["sentence"]
    assert "operator:ana@example.com" in text_of(ana.get(page_of(job)))


def test_what_cancelling_costs_is_what_is_charged(ana, acme):
    job = job_of(acme, complete=False)
    url = f"{page_of(job)}cancel/"
    said = text_of(ana.get(url))
    confirm(ana, url, reason="asked to")
    job.refresh_from_db()
    assert f"this costs {job.charged_micros // 1_000_000} credit" in said


def test_closed_job_is_not_cancelled(ana, acme):
    job = job_of(acme)
    page = ana.get(f"{page_of(job)}cancel/")
    assert page.status_code == 409
    assert "A closed job is never reopened." in text_of(page)
    assert "Cancel job" not in [button.label for button in ana.get(page_of(job)).context["buttons"]]


def test_job_that_went_on_meanwhile_is_shown_again(ana, acme):
    job = job_of(acme, complete=False)
    url = f"{page_of(job)}cancel/"
    page = ana.get(url)
    form = {"once": str(page.context["form"]["once"].value()), "seen": page.context["preview"].seen}
    submit(acme, job)
    again = ana.post(url, form | {"reason": "asked to"})
    assert again.status_code == 409
    assert Job.objects.get(pk=job.pk).status == "in_progress"


@pytest.mark.parametrize(("role", "may"), [("owner", 1), ("admin", 1), ("support", 1), ("billing", 0), ("viewer", 0)])
def test_who_may_cancel(browser_of, acme, role, may):
    job = job_of(acme, complete=False)
    client = browser_of(role)
    assert client.get(f"{page_of(job)}cancel/").status_code == (200 if may else 403)
    assert client.post(f"{page_of(job)}cancel/", {"reason": "asked to"}).status_code == (422 if may else 403)
    labels = [button.label for button in client.get(page_of(job)).context["buttons"]]
    assert ("Cancel job" in labels) == bool(may)


# Content


@pytest.fixture
def stored(acme):
    organizations.set_content_retention(
        acme.organization, stores_content=True, retention_h=48, actor=make.TESTER, reason="agreed"
    )
    return job_of(acme)


def test_content_is_closed_by_default(ana, acme):
    job = job_of(acme)
    page = text_of(ana.get(page_of(job)))
    name = acme.organization.organization_id
    assert escape(f"Not stored: {name} does not let its content be seen.") in page
    assert "Show content" not in page
    assert ana.get(f"{page_of(job)}content/").status_code == 409
    sent = {"reason": "ticket 7", "once": "0192e4a0-0000-7000-8000-000000000000", "seen": "content"}
    refused = ana.post(f"{page_of(job)}content/", sent)
    assert (refused.status_code, SECRET_PROMPT in text_of(refused)) == (409, False)


def test_content_is_shown_for_a_reason_that_is_recorded(ana, stored):
    url = f"{page_of(stored)}content/"
    assert "Show content" in text_of(ana.get(page_of(stored)))
    assert SECRET_PROMPT not in text_of(ana.get(page_of(stored)))
    page = ana.get(url)
    assert SECRET_PROMPT not in text_of(page)
    form = {"once": str(page.context["form"]["once"].value()), "seen": page.context["preview"].seen}
    assert ana.post(url, form).status_code == 422
    assert AuditEntry.objects.filter(action="content.view").count() == 0
    shown = ana.post(url, form | {"reason": "ticket 7"})
    assert shown.status_code == 200
    assert SECRET_PROMPT in text_of(shown)
    assert shown["Cache-Control"] == "no-store"
    row = AuditEntry.objects.get(action="content.view")
    assert (row.actor, row.reason, row.object_id) == ("operator:ana@example.com", "ticket 7", str(stored.pk))


@pytest.mark.parametrize(
    ("role", "may"), [("owner", True), ("admin", True), ("support", True), ("billing", False), ("viewer", False)]
)
def test_who_may_see_content(browser_of, stored, role, may):
    client = browser_of(role)
    url = f"{page_of(stored)}content/"
    assert client.get(url).status_code == (200 if may else 403)
    assert ("Show content" in text_of(client.get(page_of(stored)))) == may
    answer = client.post(
        url, {"reason": "ticket 7", "once": "0192e4a0-0000-7000-8000-000000000000", "seen": "content"}
    )
    assert (SECRET_PROMPT in text_of(answer)) == may


def test_content_past_its_time_is_not_shown(ana, stored):
    Call.objects.filter(job=stored).update(ended_at=timezone.now() - timedelta(hours=49))
    page = text_of(ana.get(page_of(stored)))
    assert "keeps content 48 h, deleted 1 h ago" in page
    assert ana.get(f"{page_of(stored)}content/").status_code == 409


def test_sweep_keeps_content_as_long_as_its_organization_says(stored, globex):
    other = job_of(globex)
    long_ago = timezone.now() - timedelta(minutes=1)
    CallPayload.objects.update(expires_at=long_ago)
    sweeper.run()
    assert [row.call.job_id for row in CallPayload.objects.select_related("call")] == [stored.pk]
    kept = CallPayload.objects.get()
    assert timezone.now() + timedelta(hours=23) < kept.expires_at <= timezone.now() + timedelta(hours=24, minutes=1)
    Call.objects.filter(job=stored).update(ended_at=timezone.now() - timedelta(hours=49))
    CallPayload.objects.update(expires_at=long_ago)
    sweeper.run()
    assert not CallPayload.objects.exists()
    assert other.pk


# What is on no page


def test_prompts_and_answers_are_on_no_page_of_a_job(ana, acme):
    job = job_of(acme)
    call = Call.objects.get(job=job)
    pages = [JOBS, CALLS, page_of(job), f"{page_of(job)}?call={call.pk}", f"{page_of(job)}receipt.json"]
    pages += ["/admin/jobs/attempt/", "/admin/core/event/"]
    assert [page for page in pages if SECRET_PROMPT in text_of(ana.get(page))] == []


def test_payloads_have_no_page_of_their_own(ana, acme):
    job_of(acme)
    for url in ("/admin/jobs/callpayload/", f"/admin/jobs/callpayload/{Call.objects.get().pk}/change/"):
        assert ana.get(url).status_code == 404


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202egnp.exe"])
def test_hostile_text_stays_text(ana, acme, text):
    job = Job.objects.create(
        team=acme.team,
        organization=acme.organization,
        job_type=text[:100],
        user_id=text,
        metadata={text: text},
        error_message=text,
        status="failed",
        completed_at=timezone.now(),
        closed_by=text,
    )
    for url in (JOBS, page_of(job)):
        page = text_of(ana.get(url))
        assert "<script>alert(1)" not in page
        assert "<img src=x" not in page
        assert escape(text) in page


def test_dashboards_bars_lead_to_the_jobs_that_closed_then(ana, acme):
    early, late = job_of(acme), job_of(acme)
    hour_ago = timezone.now() - timedelta(hours=1)
    type(early).objects.filter(pk=early.pk).update(completed_at=hour_ago)
    since, until = (hour_ago - timedelta(minutes=5)).isoformat(), (hour_ago + timedelta(minutes=5)).isoformat()

    page = ana.get("/admin/jobs/job/", {"range": "all", "closed_from": since, "closed_to": until})

    assert str(early.pk) in text_of(page)
    assert str(late.pk) not in text_of(page)
    chip = next(chip for chip in page.context["chips"] if chip.label == "Closed")
    assert not chip.is_wrong


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01", "\x00", "9" * 40])
def test_instants_that_are_none_are_said(ana, acme, value):
    page = ana.get("/admin/jobs/job/", {"closed_from": value})
    assert any(chip.is_wrong for chip in page.context["chips"])
