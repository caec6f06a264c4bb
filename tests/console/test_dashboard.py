"""The dashboard: few queries, figures that link to their rows, and what an empty platform needs."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.analytics import rollups
from apps.console.home import asked, needs, panels
from tests import make
from tests.analytics import rows
from tests.console.conftest import text_of

pytestmark = pytest.mark.django_db
PANEL = "/admin/panels/{}/"


@pytest.fixture
def busy(acme):
    """A team with jobs of today, rolled up."""
    for number in range(3):
        job = rows.job(acme, "1", ({"cost": 50_000_000, "latency_ms": 1000 * (number + 1)},), job_type="report")
        type(job).objects.filter(pk=job.pk).update(created_at=timezone.now(), completed_at=timezone.now())
        job.calls.update(created_at=timezone.now(), ended_at=timezone.now())
    rollups.fill()
    return acme


def queries_of(client, url):
    with CaptureQueriesContext(
        connection,
    ) as found:
        page = client.get(url)
    assert page.status_code == 200, url
    return [each["sql"] for each in found if "SAVEPOINT" not in each["sql"]], page


def test_first_paint_takes_at_most_eight_queries(ana, busy):
    queries, page = queries_of(ana, "/admin/")
    assert len(queries) <= 8
    assert len(page.content) < 150_000
    assert text_of(page).count("<h1") == 1


@pytest.mark.parametrize("name", panels.PANELS)
def test_each_panel_takes_few_queries_whatever_the_range(ana, busy, name):
    needs.forget_cached()
    # Besides the session and its operator; a filter's team is looked up.
    allowed = {"needs": 12}.get(name, 3) + 2
    counts = set()
    for span in ("24h", "7d", "30d", "90d"):
        needs.forget_cached()
        queries, _ = queries_of(ana, f"{PANEL.format(name)}?range={span}")
        counts.add(len(queries))
        assert len(queries) <= allowed + 1, queries
    assert len(counts) <= 2


def test_numbers_link_to_their_rows_with_the_filters_of_the_page(ana, busy):
    page = text_of(ana.get(f"{PANEL.format('numbers')}?range=24h&team={busy.team.team_id}&type=report"))
    assert f"team={busy.team.team_id}&amp;type=report&amp;closed_from=" in page
    assert ">3</a>" in page


def test_a_bar_links_to_the_instants_it_covers(ana, busy):
    chart = ana.get(f"{PANEL.format('jobs')}?range=7d").context["charts"][0]
    made = [place for place, value in enumerate(chart.series[0].values) if value]
    assert sum(chart.series[0].values) == 3
    listed = ana.get(chart.links[made[-1]])
    assert listed.status_code == 200
    assert not [chip for chip in listed.context["chips"] if chip.is_wrong]
    assert listed.context["total"] == chart.series[0].values[made[-1]]


def test_tables_name_what_spends_most_and_order_by_a_measure(ana, busy):
    page = text_of(ana.get(f"{PANEL.format('job-types')}?by=calls"))
    assert "report" in page
    assert 'aria-sort="descending"' in page


def test_an_unknown_panel_is_not_found(ana):
    assert ana.get(PANEL.format("nothing")).status_code == 404


def test_what_means_nothing_is_said(ana, busy):
    page = text_of(ana.get("/admin/?team=nobody&range=11d"))
    assert "There is no team &#x27;nobody&#x27;." in page
    assert "There is no range &#x27;11d&#x27;." in page


def test_hostile_filters_are_escaped(ana, busy):
    page = text_of(ana.get("/admin/?type=%3Cimg+src%3Dx%3E&model=%00&from=99999-1-1"))
    assert "<img src=x>" not in page


def test_an_empty_platform_shows_what_to_do(ana):
    page = ana.get("/admin/")
    steps = page.context["steps"]
    assert [step.is_done for step in steps] == [True] + [False] * 6
    assert "Set up: 1 of 7 done" in text_of(page)


def test_steps_are_done_when_there_is_such_a_thing(ana, acme):
    steps = {step.title: step.is_done for step in ana.get("/admin/").context["steps"]}
    assert steps["A customer"]
    assert not steps["The first job"]


def test_needs_you_says_when_nothing_does(ana):
    needs.forget_cached()
    assert "Nothing needs you." in text_of(ana.get(PANEL.format("needs")))


def test_needs_you_names_teams_that_run_low(ana):
    make.customer(team_id="acme", credits=100)
    from apps.credits.models import Account

    Account.objects.filter(team__team_id="acme", kind="wallet").update(held_micros=95_000_000)
    needs.forget_cached()
    page = text_of(ana.get(PANEL.format("needs")))
    assert "1 team has 10 % or less of their credits left." in page
    assert "<bdi>acme</bdi>" in page


def test_a_custom_range_is_of_days(rf):
    found = asked.read(rf.get("/", {"from": "2026-03-01", "to": "2026-03-03"}).GET)
    assert len(found.span.points) == 3
    assert found.preset == ""
    assert found.query(team="acme") == "from=2026-03-01&to=2026-03-03&team=acme"
