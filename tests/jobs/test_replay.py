"""`manage.py cards replay`: what closed jobs would have cost by a draft, told in credits and in money."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.credits import card_terms, cards, pricing
from apps.credits.models import Grant, RateCardVersion
from apps.jobs import replay
from apps.jobs.models import Job
from apps.jobs.replay import Draft
from tests import make
from tests.jobs import steps
from tests.jobs.test_policies import ask, fail, put_in_force, serve

USD = 1_000_000_000


@pytest.fixture
def priced(db: None) -> None:
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, max_output_tokens=1_000)


def customer(team_id: str, **more: Any) -> make.Customer:
    return make.customer(team_id=team_id, credits=1_000, access_groups=["priced"], **more)


def life(who: make.Customer, *, usd: float = 0.5, failing: int = 0, verdict: str = "completed", **job: Any) -> Job:
    """A job of one served call, and of some that failed after costing 0.1 USD."""
    opened = steps.open_job(who, **job)
    for number in range(failing):
        fail(ask(who, opened, f"bad {number}"), lost_usd=0.1)
    serve(ask(who, opened), usd=usd)
    return steps.complete(who, opened, verdict)


def terms(mode: str, **given: Any) -> pricing.Terms:
    columns = card_terms.columns(card_terms.TermsInput(mode=mode, **given))
    return pricing.terms_of(RateCardVersion(**columns))


def credits(found: replay.Replay) -> tuple[float, float]:
    return found.total.then_micros / 10**6, found.total.draft_micros / 10**6


def test_jobs_are_priced_anew_by_the_draft(priced: None):
    acme = customer("acme")
    life(acme, usd=0.5)
    life(acme, usd=1.5)
    life(acme, usd=9, verdict="failed")

    found = replay.replay(Draft(terms("metered_usd")), days=1)

    assert (found.total.jobs, credits(found)) == (3, (2, 20))
    assert found.total.cost_nanousd == 11 * USD
    by_policy = replay.replay(Draft(terms("metered_usd", on_failed="percent", policy_percent=10)), days=1)
    assert credits(by_policy) == (2, 29)


@pytest.mark.parametrize(
    ("mode", "given"),
    [
        ("flat", {"price_credits": 3, "on_failed": "cost", "on_partly_failed": "percent"}),
        ("metered_usd", {"cost_markup_percentage": 20, "ceiling_credits": 12}),
        ("metered_tokens", {"tokens_per_credit": 10}),
        ("hybrid", {"allowance_usd": 1, "on_failed": "percent", "policy_percent": 30}),
    ],
)
def test_the_card_that_was_in_force_moves_nothing(priced: None, mode: str, given: dict[str, Any]):
    acme = customer("acme")
    version = put_in_force(acme, mode, **given)
    for usd, failing, verdict in ((0.5, 0, "completed"), (2.5, 1, "completed"), (0.7, 0, "failed")):
        life(acme, usd=usd, failing=failing, verdict=verdict)

    found = replay.replay(Draft.of_version(version), days=1)

    assert found.total.jobs == 3
    assert found.total.then_micros > 0
    assert found.total.moved_micros == 0


def test_failed_tries_are_estimated_by_their_average(priced: None):
    life(customer("acme"), usd=0.5, failing=4)
    assert credits(replay.replay(Draft(terms("metered_usd", included_tries=1)), days=1)) == (1, 8)


def test_teams_that_move_most_come_first(priced: None):
    life(customer("small"), usd=0.5)
    life(customer("large"), usd=5)
    life(customer("same"), usd=0.1)

    found = replay.replay(Draft(terms("metered_usd")), days=1)

    assert [(name, figures.moved_micros // 10**6) for name, figures in found.teams] == [
        ("large", 49),
        ("small", 4),
        ("same", 0),
    ]


def test_draft_prices_its_owners_jobs_and_no_nearer_cards(priced: None):
    org = make.organization()
    acme, own, other = customer("acme", org=org), customer("own", org=org), customer("other")
    put_in_force(own, "flat", price_credits=5)
    for who in (acme, own, other):
        life(who)
    life(acme, job_type="resume")

    found = replay.replay(Draft(terms("flat", price_credits=9), organization=org, job_type="query"), days=1)
    assert ([name for name, _ in found.teams], found.jobs_of_nearer_cards) == (["acme"], 1)
    everywhere = replay.replay(Draft(terms("flat", price_credits=9)), days=1)
    assert ([name for name, _ in everywhere.teams], everywhere.total.jobs) == (["acme", "other"], 3)
    narrowed = replay.replay(Draft(terms("flat")), days=1, team=other.team)
    assert [name for name, _ in narrowed.teams] == ["other"]
    nearest = replay.replay(Draft(terms("flat", price_credits=9), team=own.team), days=1)
    assert credits(nearest) == (5, 9)


def test_jobs_before_the_days_and_open_ones_are_left_out(priced: None):
    acme = customer("acme")
    old = life(acme)
    Job.objects.filter(pk=old.pk).update(completed_at=timezone.now() - timedelta(days=3))
    ask(acme, steps.open_job(acme))

    assert replay.replay(Draft(terms("flat")), days=2).total.jobs == 0
    assert replay.replay(Draft(terms("flat")), days=4).total.jobs == 1


def test_jobs_beyond_the_drafts_cost_cap_are_counted(priced: None):
    acme = customer("acme")
    life(acme, usd=0.5)
    life(acme, usd=2)
    assert replay.replay(Draft(terms("flat", cost_cap_usd=1)), days=1).jobs_beyond_cost_cap == 1


def test_credits_are_worth_what_paid_grants_were_sold_for(priced: None, settings: Any):
    settings.CREDIT_LIST_PRICE_NANOUSD = USD // 10
    acme = customer("acme")
    life(acme, usd=0.5)
    listed = replay.replay(Draft(terms("flat", price_credits=4)), days=1)
    assert (listed.total.draft_nanousd, listed.is_estimate) == (4 * USD // 10, True)

    Grant.objects.update(price_nanousd_per_credit=USD // 2)
    sold = replay.replay(Draft(terms("flat", price_credits=4)), days=1)
    assert (sold.total.then_nanousd, sold.total.draft_nanousd, sold.is_estimate) == (USD // 2, 2 * USD, False)
    assert sold.as_json()["draft_margin_nanousd"] == 2 * USD - USD // 2


def test_queries_do_not_grow_with_jobs_and_teams(priced: None):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            replay.replay(Draft(terms("flat")), days=1)
        return len(captured)

    life(customer("acme"))
    few = queries()
    for number in range(4):
        life(customer(f"team-{number}"))
    assert queries() == few == 4


# --- The command -------------------------------------------------------------------------------------------


@pytest.fixture
def committed(transactional_db: None) -> make.Customer:
    """The command reads one snapshot of what is committed."""
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    acme = customer("acme")
    life(acme, usd=0.5)
    return acme


def written(tmp_path: Path, **body: Any) -> str:
    path = tmp_path / "draft.json"
    path.write_text(json.dumps(body))
    return str(path)


def test_command_prints_revenue_margin_and_teams(
    committed: make.Customer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    draft = written(tmp_path, mode="metered_usd", credits_per_dollar=20)
    call_command("cards", "replay", "--draft", draft, "--days", "7")
    printed = capsys.readouterr().out
    assert "1 jobs of the last 7 days" in printed
    assert [line.split() for line in printed.splitlines() if line.startswith(("then", "with draft", "acme"))] == [
        ["then", "1", "0.10", "-0.40"],
        ["with", "draft", "10", "1.00", "0.50"],
        ["acme", "1", "10", "9"],
    ]
    assert "estimate" in printed


def test_command_reads_a_version_and_prints_json(committed: make.Customer, capsys: pytest.CaptureFixture[str]):
    columns = card_terms.columns(card_terms.TermsInput(mode="flat", price_credits=6))
    card = cards.create(team=committed.team, actor=make.TESTER, terms=columns)
    version = cards.find_version(card, 1)
    call_command("cards", "replay", "--draft", str(version.pk), "--team", "acme", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert (printed["jobs"], printed["moved_micros"], printed["days"]) == (1, 5_000_000, 30)
    assert printed["teams"][0]["team_id"] == "acme"


@pytest.mark.parametrize(
    ("body", "message"),
    [({"mode": "hybrid"}, "allowance_usd"), ({}, "mode: Field required"), ({"mode": "flat", "team_id": "x"}, "'x'")],
)
def test_command_says_what_is_wrong_with_a_draft(
    transactional_db: None, tmp_path: Path, body: dict[str, Any], message: str
):
    with pytest.raises(CommandError, match=message):
        call_command("cards", "replay", "--draft", written(tmp_path, **body))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--draft", "/nowhere/draft.json"), "cannot be read"),
        (("--draft", "0192e4a0-0000-7000-8000-000000000000"), "no version"),
        (("--draft", "x", "--days", "0"), "at least 1"),
        (("--draft", "x", "--team", "nobody"), "not found"),
    ],
)
def test_command_says_what_is_wrong_with_its_arguments(
    transactional_db: None, arguments: tuple[str, ...], message: str
):
    with pytest.raises(CommandError, match=message):
        call_command("cards", "replay", *arguments)
