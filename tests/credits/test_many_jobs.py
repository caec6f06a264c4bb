"""Ten thousand jobs on fifty wallets by three rate cards: at the end everything is what a plain sum says.

Prices are worked out beside the product's, in fractions of credits.
"""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from django.db.models import Sum

from apps.core import clock
from apps.credits import card_terms, cards, ledger, periods, pricing, sealing, settlement
from apps.credits.errors import InsufficientCredits
from apps.credits.models import SYSTEM_ACCOUNTS, Account, Block, Entry, Grant, Hold, Period, PeriodBalance
from apps.credits.pricing import Terms
from apps.credits.settlement import Verdict, Work
from apps.teams import services as teams
from apps.teams.models import Team
from tests import make
from tests.credits import books
from tests.credits.books import CREDIT

WALLETS = 50
USD = 1_000_000_000
CARDS: dict[str, dict[str, Any]] = {
    "flat": {"mode": "flat", "price_credits": 2, "on_failed": "percent", "policy_percent": 50},
    "metered": {"mode": "metered_usd", "cost_markup_percentage": 25, "rounding": "none", "minimum_credits": 1},
    "hybrid": {"mode": "hybrid", "price_credits": 3, "allowance_usd": "0.2", "ceiling_credits": 8},
}


def expected_micros(card: str, verdict: Verdict, usd: Fraction) -> int:
    """What a job costs by the words of its card, at ten credits a dollar."""
    if verdict == Verdict.CANCELLED or (verdict == Verdict.FAILED and card != "flat"):
        return 0
    if card == "flat":
        return (1 if verdict == Verdict.FAILED else 2) * CREDIT
    if card == "metered":
        return max(CREDIT, floor(usd * Fraction(5, 4) * 10 * CREDIT))
    beyond = floor(max(Fraction(0), usd - Fraction(1, 5)) * 10)
    return min(8, 3 + beyond) * CREDIT


@pytest.fixture
def cards_in_force(db: None) -> dict[str, Terms]:
    """The platform's cards, one a job type."""
    for job_type, given in CARDS.items():
        terms = card_terms.columns(card_terms.TermsInput(**given))
        card = cards.create(job_type=job_type, actor=make.TESTER, terms=terms)
        cards.activate(card, 1, actor=make.TESTER)
    pricing.forget_cached()
    team = make.customer(credits=0).team
    return {job_type: pricing.terms_in_force(team, job_type) for job_type in CARDS}


@pytest.fixture
def wallets(db: None) -> list[Team]:
    """With promotional and paid credits; every tenth has too few for its jobs."""
    org = make.organization()
    soon = clock.now() + timedelta(days=20)
    found = []
    for number in range(WALLETS):
        team = teams.create(org, team_id=f"wallet-{number}", actor=make.TESTER)
        books.give(team, 10, key="welcome", kind=Grant.Kind.PROMOTIONAL, expires_at=soon)
        books.give(team, 20 if number % 10 == 0 else 2_000, key="paid")
        found.append(team)
    return found


def jobs(count: int) -> Iterator[tuple[str, int, str, Verdict, int]]:
    """Id, wallet, card, verdict and provider's nano-dollars of each; the same in every run."""
    chance = random.Random(10_000)
    for number in range(count):
        verdict = chance.choices([Verdict.COMPLETED, Verdict.FAILED, Verdict.CANCELLED], [8, 1, 1])[0]
        yield f"job-{number}", chance.randrange(WALLETS), chance.choice([*CARDS]), verdict, chance.randrange(USD)


def test_ten_thousand_jobs_add_up(wallets, cards_in_force, monkeypatch):
    balance = [20 + 10 if number % 10 == 0 else 2_010 for number in range(WALLETS)]
    expected = Counter({number: credits * CREDIT for number, credits in enumerate(balance)})
    revenue: Counter[str] = Counter()
    refused = 0
    for job, number, card, verdict, nanousd in jobs(10_000):
        team, terms = wallets[number], cards_in_force[card]
        work = Work(successful_calls=1, failed_calls=0, tokens=100, provider_nanousd=nanousd)
        bound = settlement.price_of(terms, Work(1, 0, 100, provider_nanousd=2 * nanousd))
        try:
            ledger.hold(team, job=job, amount_micros=bound)
        except InsufficientCredits:
            assert expected[number] < bound
            refused += 1
            continue
        due = settlement.due(terms, verdict, work).micros
        assert due == expected_micros(card, verdict, Fraction(nanousd, USD))
        charge = ledger.charge(team, job=job, amount_micros=due)
        assert (charge.charged_micros, charge.uncollected_micros) == (due, 0)
        expected[number] -= due
        revenue[card] += due
        if nanousd % 97 == 0:
            # A repeat changes nothing, and support gives some of it back.
            assert ledger.charge(team, job=job, amount_micros=due).entry_id == charge.entry_id
            expected[number] += refund(charge)

    posted = dict(Account.objects.filter(team__in=wallets).values_list("team", "posted_micros"))
    assert [posted[team.pk] for team in wallets] == [expected[number] for number in range(WALLETS)]
    assert refused > 0
    assert min(revenue.values()) > 0
    assert not Hold.objects.filter(state="open").exists()
    assert not Account.objects.filter(team__in=wallets).exclude(held_micros=0).exists()
    entries_sum_to_balances()
    month_closes(monkeypatch)
    assert books.ledger_differences() == []


def refund(charge: ledger.Charge) -> int:
    """Half of a charge, twice the same. Micros."""
    if charge.entry_id is None:
        return 0
    entry = Entry.objects.get(pk=charge.entry_id)
    half = entry.amount_micros // 2
    for _ in range(2):
        ledger.reverse(entry, amount_micros=half, actor=make.TESTER, key="half", reason="a test")
    return half


def entries_sum_to_balances() -> None:
    """By nothing but two sums a side."""
    sums: Counter[int] = Counter()
    for side, sign in (("credit_account", 1), ("debit_account", -1)):
        for account, amount in Entry.objects.order_by().values_list(side).annotate(Sum("amount_micros")):
            sums[account] += sign * amount
    assert sum(sums.values()) == 0
    owned = Account.objects.exclude(pk__in=SYSTEM_ACCOUNTS)
    assert dict(owned.values_list("pk", "posted_micros")) == {
        each: sums[each] for each in owned.values_list("pk", flat=True)
    }


def month_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every entry is sealed, and the month has each wallet's last number and balance."""
    assert sealing.seal_all() >= WALLETS
    assert list(sealing.blocks_hold_what_was_sealed()) == []
    sealed = Counter(dict.fromkeys(Account.objects.filter(seq__gt=0).values_list("pk", flat=True), 0))
    for block in Block.objects.defer("digests"):
        sealed[block.account_id] += block.last_seq - block.first_seq + 1
    assert dict(sealed) == dict(Account.objects.filter(seq__gt=0).values_list("pk", "seq"))
    now = clock.db_now()
    monkeypatch.setattr(clock, "db_now", lambda: now + timedelta(days=40))
    period, _ = periods.close(f"{now:%Y-%m}", actor=make.TESTER)
    assert Period.objects.get() == period
    closed = PeriodBalance.objects.filter(period=period).values_list("account", "last_seq", "posted_micros")
    owned = Account.objects.filter(seq__gt=0).values_list("pk", "seq", "posted_micros")
    assert sorted(closed) == sorted(owned)
    assert list(periods.periods_are_as_they_were_closed()) == []
