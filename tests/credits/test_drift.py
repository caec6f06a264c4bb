"""`ledger_verify` goes red: each drift that could be planted in the rows is found, and the row is named."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from apps.catalog import prices
from apps.catalog.rates import Rates
from apps.core import append_only, clock, verification
from apps.core.verification import Difference
from apps.credits import ledger, periods, sealing
from apps.credits import verification as credits_checks
from apps.credits.models import ISSUED_ID, REVENUE_ID, Account, Entry, Grant, GrantUse, Hold
from apps.credits.models_books import Block, PeriodBalance
from apps.jobs import execution
from apps.jobs import verification as jobs_checks
from apps.jobs.gateway.interface import GatewayError
from apps.jobs.models import Attempt, Call, CallPayload, Job
from tests import make
from tests.credits import books, work


@dataclass(frozen=True)
class World:
    """Two customers; one has a charged, a running and a failed job, a refund, a take-back, an adjustment, credits
    that expired and that will, some for a job type alone, and some of its organization's pool."""

    customer: make.Customer
    wallet: Account
    other: Account
    done: Job
    running: Job
    failed: Job
    queued: Call

    def entry(self, kind: str) -> Entry:
        """The customer's first entry of this kind."""
        return Entry.objects.filter(kind=kind).exclude(credit_account=self.other).order_by("id")[0]


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    gateway = work.provide(monkeypatch)
    make.alias("chat", input_usd_per_mtok=10, output_usd_per_mtok=10, is_open=True)
    customer = make.metered_customer(credits=50)
    other = make.customer(credits=100)
    team = customer.team
    books.give(team, 5, key="promo", kind=Grant.Kind.PROMOTIONAL)

    gateway.will_use((0, 10_000), (0, 20_000))
    done = work.open_job(customer)
    for text in ("First.", "Second."):
        work.call(customer, done, text, model="chat", max_tokens=20_000)
    work.complete(customer, done)

    gateway.outcomes.append(GatewayError("provider_error", "it broke off", status=500, was_executed=True))
    failed = work.open_job(customer)
    work.call(customer, failed, model="chat", max_tokens=10_000)
    work.complete(customer, failed)

    running = work.open_job(customer)
    queued = Call.objects.get(pk=work.submit(customer, running, model="chat", max_tokens=30_000))
    execution.claim(str(queued.pk))

    books.reverse(Entry.objects.get(kind="charge"), 1, key="refund")
    books.reverse(Entry.objects.get(idempotency_key=f"grant:{team.team_id}:promo"), 1, key="take-back")
    books.adjust(team, 2, key="adjust")
    books.give(team, 30, key="short", expires_at=clock.now() + timedelta(days=1))
    books.pass_days(2)
    ledger.expire_due()
    books.give(team, 4, key="long", expires_at=clock.now() + timedelta(days=30))
    books.give(team, 4, key="reports", job_types=["report", "audit"])
    ledger.grant_to_pool(team.organization, amount_micros=20, actor=make.TESTER, key="pool")
    ledger.allocate(team, amount_micros=6, actor=make.TESTER, key="allocate")
    ledger.reclaim(team, amount_micros=2, actor=make.TESTER, key="reclaim")
    connection.check_constraints()
    close_this_month(monkeypatch)
    found = World(customer, books.wallet(team), books.wallet(other.team), done, running, failed, queued)
    assert list(verification.differences()) == []
    return found


def close_this_month(monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen from far enough ahead."""
    now = clock.db_now()
    with monkeypatch.context() as patched:
        patched.setattr(clock, "db_now", lambda: now + timedelta(days=40))
        periods.close(f"{now:%Y-%m}", actor=make.TESTER)


def plant(rows: Any, **columns: Any) -> str:
    """Change columns of the one row; its key."""
    (pk,) = rows.values_list("pk", flat=True)
    assert rows.model.objects.filter(pk=pk).update(**columns) == 1
    return str(pk)


def delete(rows: Any) -> None:
    rows._raw_delete(rows.db)


def entries(world: World, kind: str) -> Any:
    return Entry.objects.filter(pk=world.entry(kind).pk)


def account(world: World, **columns: Any) -> str:
    return plant(Account.objects.filter(pk=world.wallet.pk), **columns)


def deleted_entry(world: World) -> str:
    entry = world.entry("adjust")
    delete(GrantUse.objects.filter(entry=entry))
    delete(Entry.objects.filter(pk=entry.pk))
    return str(world.wallet.pk)


def deleted_entry_amid(world: World) -> str:
    """Of the one after it the number no longer follows."""
    entry = world.entry("refund")
    after = Entry.objects.get(debit_account=world.wallet, debit_seq=(entry.credit_seq or 0) + 1)
    delete(GrantUse.objects.filter(entry=entry))
    delete(Entry.objects.filter(pk=entry.pk))
    return str(after.pk)


def swapped_numbers(world: World) -> str:
    first, second = Entry.objects.filter(debit_account=world.wallet).order_by("debit_seq")[:2]
    plant(Entry.objects.filter(pk=first.pk), debit_seq=999)
    plant(Entry.objects.filter(pk=second.pk), debit_seq=first.debit_seq)
    return plant(Entry.objects.filter(pk=first.pk), debit_seq=second.debit_seq)


def call_with_other_figures(world: World) -> str:
    price = prices.add("provider/other", Rates(1, 2), actor=make.TESTER)
    return plant(Call.objects.filter(pk=world.queued.pk), price_id=price.pk, price_source="price")


def second_charge(world: World) -> str:
    """Only possible where the unique index is gone."""
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX entry_job_charged_once")
    Entry.objects.create(
        kind="charge",
        debit_account=world.wallet,
        credit_account_id=REVENUE_ID,
        amount_micros=1,
        debit_seq=1000,
        debit_balance_micros=1,
        job=str(world.done.pk),
        actor="nobody",
        idempotency_key="charge:again",
    )
    return str(world.done.pk)


def charge_of_no_job(world: World) -> str:
    ledger.charge(world.customer.team, job="no-such-job", amount_micros=1)
    return str(Entry.objects.get(job="no-such-job").pk)


def hold_of_no_job(world: World) -> str:
    books.hold(world.customer.team, 1, job="no-such-job")
    return "no-such-job"


def lost_hold(world: World) -> str:
    delete(Hold.objects.filter(job=str(world.running.pk)))
    return str(world.running.pk)


def use_of(world: World, kind: str) -> Any:
    return GrantUse.objects.filter(entry=world.entry(kind)).order_by("id")[:1]


def lot_of(key: str) -> Any:
    return Grant.objects.filter(entry__idempotency_key__endswith=f":{key}")


def expiring(world: World, **columns: Any) -> str:
    """The lot that will expire, with other columns."""
    return plant(lot_of("long"), **columns)


def expired_before_its_time(world: World) -> str:
    plant(lot_of("short"), expires_at=clock.now() + timedelta(days=1))
    return str(GrantUse.objects.get(entry__kind="expire").pk)


def reclaimed_more(world: World) -> str:
    plant(Entry.objects.filter(kind="reclaim"), amount_micros=7)
    return str(world.wallet.pk)


def job(world_job: Job, **columns: Any) -> str:
    return plant(Job.objects.filter(pk=world_job.pk), **columns)


def attempts(world: World, state: str) -> Any:
    return Attempt.objects.filter(state=state).order_by("id")[:1]


def without(rows: Any, of: Any) -> str:
    delete(rows)
    return str(of)


C, J = credits_checks, jobs_checks
Plant = Callable[[World], str]
Check = Callable[[], Iterable[Difference]]
# What was done to the rows, by which the returned key's row is wrong, and the check that must say so.
DRIFTS: dict[str, tuple[Plant, Check]] = {
    "amount of an entry, in its balance": (
        lambda w: plant(entries(w, "charge"), amount_micros=F("amount_micros") + 1),
        C.entries_follow_each_other,
    ),
    "amount of an entry, in its account": (
        lambda w: plant(entries(w, "charge"), amount_micros=F("amount_micros") + 1) and str(w.wallet.pk),
        C.accounts_follow_from_entries,
    ),
    "amount of an entry below its uses": (
        lambda w: plant(entries(w, "adjust"), amount_micros=F("amount_micros") - 1),
        C.uses_fit_their_entries,
    ),
    "amount of an entry below its reversals": (
        lambda w: plant(entries(w, "charge"), amount_micros=1),
        C.reversals_fit_their_entries,
    ),
    "amount of a grant's entry": (
        lambda w: plant(entries(w, "grant"), amount_micros=F("amount_micros") + 1),
        C.grants_are_as_large_as_their_entries,
    ),
    "entry deleted": (deleted_entry, C.accounts_follow_from_entries),
    "entry deleted amid others": (deleted_entry_amid, C.entries_follow_each_other),
    "numbers swapped": (swapped_numbers, C.entries_follow_each_other),
    "number taken away": (lambda w: plant(entries(w, "adjust"), debit_seq=None), C.entries_follow_each_other),
    "running balance": (
        lambda w: plant(entries(w, "adjust"), debit_balance_micros=F("debit_balance_micros") - 1),
        C.entries_follow_each_other,
    ),
    "entry moved to another account": (
        lambda w: plant(entries(w, "adjust"), debit_account=w.other) and str(w.other.pk),
        C.accounts_follow_from_entries,
    ),
    "entry moved away from its uses": (
        lambda w: (
            plant(entries(w, "adjust"), debit_account=w.other)
            and str(GrantUse.objects.filter(entry__kind="adjust")[0].pk)
        ),
        C.uses_fit_their_entries,
    ),
    "charge that pays nobody": (
        lambda w: plant(entries(w, "charge"), credit_account_id=ISSUED_ID),
        C.entries_join_the_right_accounts,
    ),
    "kind of an entry": (lambda w: plant(entries(w, "adjust"), kind="expire"), C.entries_join_the_right_accounts),
    "refund of nothing": (lambda w: plant(entries(w, "refund"), reverses=None), C.reversals_fit_their_entries),
    "refund of a grant": (
        lambda w: plant(entries(w, "refund"), reverses=w.entry("grant")),
        C.reversals_fit_their_entries,
    ),
    "number on a system account": (
        lambda w: plant(entries(w, "charge"), credit_seq=1),
        C.system_accounts_carry_nothing,
    ),
    "balance of a system account": (
        lambda w: plant(Account.objects.filter(pk=REVENUE_ID), allocated_micros=1, used_micros=1),
        C.system_accounts_carry_nothing,
    ),
    "amount of an expiry above its uses": (
        lambda w: plant(entries(w, "expire"), amount_micros=F("amount_micros") + 1),
        C.uses_fit_their_entries,
    ),
    "amount of an allocation above its uses": (
        lambda w: plant(Entry.objects.filter(kind="allocate"), amount_micros=F("amount_micros") + 1),
        C.uses_fit_their_entries,
    ),
    "amount of an allocation above its lots": (
        lambda w: plant(Entry.objects.filter(kind="allocate"), amount_micros=F("amount_micros") + 1),
        C.grants_are_as_large_as_their_entries,
    ),
    "expiry of an account forgotten": (lambda w: account(w, next_expiry_at=None), C.expiries_are_noted),
    "expiry of an account too late": (
        lambda w: account(w, next_expiry_at=F("next_expiry_at") + timedelta(days=1)),
        C.expiries_are_noted,
    ),
    "expiry that nobody posted": (
        lambda w: expiring(w, expires_at=clock.now() - timedelta(days=3)),
        C.expired_lots_keep_what_holds_may_burn,
    ),
    "expiry before its time": (expired_before_its_time, C.expired_lots_keep_what_holds_may_burn),
    "restricted wallet that nobody looks for": (
        lambda w: account(w, has_restricted=False) and restricted_wallet(w),
        C.wallets_beside_the_general_one_are_known,
    ),
    "job types of a wallet out of order": (
        lambda w: plant(Account.objects.filter(pk=restricted_wallet(w)), restriction="report,audit"),
        C.wallets_beside_the_general_one_are_known,
    ),
    "allocation of another organization's pool": (
        lambda w: (
            plant(Account.objects.filter(kind="pool"), organization=w.other.organization)
            and str(Entry.objects.get(kind="allocate").pk)
        ),
        C.allocations_join_pools_and_their_wallets,
    ),
    "reclaimed more than was allocated": (reclaimed_more, C.allocations_join_pools_and_their_wallets),
    "allocated lot that expires at another time": (
        lambda w: plant(lot_of("allocate"), expires_at=clock.now()),
        C.allocations_join_pools_and_their_wallets,
    ),
    "allocated lot of another price": (
        lambda w: plant(lot_of("allocate"), price_nanousd_per_credit=1),
        C.allocations_join_pools_and_their_wallets,
    ),
    "second charge of a job": (second_charge, C.jobs_are_charged_once),
    "posted": (
        lambda w: account(w, posted_micros=F("posted_micros") + 1, allocated_micros=F("allocated_micros") + 1),
        C.accounts_follow_from_entries,
    ),
    "used and allocated": (
        lambda w: account(w, used_micros=F("used_micros") + 1, allocated_micros=F("allocated_micros") + 1),
        C.accounts_follow_from_entries,
    ),
    "debt": (lambda w: account(w, debt_micros=1), C.accounts_follow_from_entries),
    "debt, by the lots": (lambda w: account(w, debt_micros=1), C.posted_is_what_lots_have_less_debt),
    "number of entries": (lambda w: account(w, seq=F("seq") + 1), C.accounts_follow_from_entries),
    "held": (lambda w: account(w, held_micros=F("held_micros") + 1), C.held_is_the_sum_of_open_holds),
    "remaining of a grant": (
        lambda w: plant(w.entry("grant").grants.all(), remaining_micros=1),
        C.grants_have_what_their_uses_left,
    ),
    "remaining of a grant, in its account": (
        lambda w: plant(w.entry("grant").grants.all(), remaining_micros=1) and str(w.wallet.pk),
        C.posted_is_what_lots_have_less_debt,
    ),
    "amount and remaining of a grant": (
        lambda w: (
            plant(
                w.entry("grant").grants.all(),
                amount_micros=F("amount_micros") + 5,
                remaining_micros=F("remaining_micros") + 5,
            )
            and str(w.entry("grant").pk)
        ),
        C.grants_are_as_large_as_their_entries,
    ),
    "use of a grant changed": (
        lambda w: (
            plant(use_of(w, "adjust"), amount_micros=F("amount_micros") - 1)
            and str(GrantUse.objects.filter(entry__kind="adjust")[0].grant_id)
        ),
        C.grants_have_what_their_uses_left,
    ),
    "use of a grant deleted": (
        lambda w: without(
            GrantUse.objects.filter(entry__kind="adjust"), GrantUse.objects.get(entry__kind="adjust").grant_id
        ),
        C.grants_have_what_their_uses_left,
    ),
    "lost hold, in its account": (lambda w: lost_hold(w) and str(w.wallet.pk), C.held_is_the_sum_of_open_holds),
    "lost hold, in its job": (lost_hold, J.held_is_the_open_hold),
    "hold closed and not given back": (
        lambda w: plant(Hold.objects.filter(state="open"), state="released") and str(w.wallet.pk),
        C.held_is_the_sum_of_open_holds,
    ),
    "hold of another amount": (
        lambda w: plant(Hold.objects.filter(state="open"), amount_micros=1) and str(w.running.pk),
        J.held_is_the_open_hold,
    ),
    "hold of no job": (hold_of_no_job, J.held_is_the_open_hold),
    "hold of a job on another team's wallet": (
        lambda w: plant(Hold.objects.filter(state="open"), account=w.other) and str(w.running.pk),
        J.held_is_the_open_hold,
    ),
    "reason of a sealed entry": (
        lambda w: plant(entries(w, "adjust"), reason="another"),
        sealing.blocks_hold_what_was_sealed,
    ),
    "use of a sealed entry": (
        lambda w: plant(use_of(w, "adjust"), amount_micros=F("amount_micros") - 1) and str(w.entry("adjust").pk),
        sealing.blocks_hold_what_was_sealed,
    ),
    "sealed entry deleted": (
        lambda w: deleted_entry(w),
        sealing.blocks_hold_what_was_sealed,
    ),
    "block rewritten": (
        lambda w: plant(Block.objects.filter(account=w.wallet), digests=b"0" * 16) and str(w.wallet.pk),
        sealing.blocks_hold_what_was_sealed,
    ),
    "block with another range": (
        lambda w: plant(Block.objects.filter(account=w.wallet), first_seq=2) and str(w.wallet.pk),
        sealing.blocks_hold_what_was_sealed,
    ),
    "balance of a closed month": (
        lambda w: plant(PeriodBalance.objects.filter(account=w.wallet), posted_micros=1) and str(w.wallet.pk),
        periods.periods_are_as_they_were_closed,
    ),
    "block of a closed month": (
        lambda w: plant(PeriodBalance.objects.filter(account=w.wallet), block_hash="0" * 64) and str(w.wallet.pk),
        periods.periods_are_as_they_were_closed,
    ),
    # They are lifted while drifts are planted and looked for.
    "missing trigger": (lambda _: "credits_entry_refuse_update", C.triggers_exist),
    "calls of a job": (lambda w: job(w.done, total_calls=3), J.totals_follow_from_calls),
    "open calls of a job": (lambda w: job(w.running, open_calls=0), J.totals_follow_from_calls),
    "successful calls of a job": (lambda w: job(w.done, successful_calls=1), J.totals_follow_from_calls),
    "failed calls of a job": (lambda w: job(w.failed, failed_calls=0), J.totals_follow_from_calls),
    "prompt tokens of a job": (lambda w: job(w.done, prompt_tokens=1), J.totals_follow_from_calls),
    "completion tokens of a job": (lambda w: job(w.done, completion_tokens=1), J.totals_follow_from_calls),
    "cost of a job": (lambda w: job(w.done, provider_cost_nanousd=1), J.totals_follow_from_calls),
    "calls of a job whose cost is unknown": (
        lambda w: job(w.done, unpriced_calls=1),
        J.totals_follow_from_calls,
    ),
    "latency of a job": (lambda w: job(w.done, latency_total_ms=987_654), J.totals_follow_from_calls),
    "bound of a job in dollars": (lambda w: job(w.running, open_bound_nanousd=1), J.totals_follow_from_calls),
    "bound of a job in tokens": (lambda w: job(w.running, open_bound_tokens=1), J.totals_follow_from_calls),
    "call deleted": (
        lambda w: [
            delete(Attempt.objects.filter(call=w.queued)),
            delete(CallPayload.objects.filter(call=w.queued)),
            without(Call.objects.filter(pk=w.queued.pk), w.running.pk),
        ][-1],
        J.totals_follow_from_calls,
    ),
    "lost cost of a job": (lambda w: job(w.failed, lost_cost_nanousd=1), J.lost_cost_follows_from_attempts),
    "tries of a job that were lost": (
        lambda w: job(w.failed, lost_tries=9),
        J.lost_cost_follows_from_attempts,
    ),
    "lost cost billed above what was lost": (
        lambda w: job(w.failed, billed_lost_nanousd=10**15),
        J.lost_cost_follows_from_attempts,
    ),
    "cost of a failed attempt": (
        lambda w: plant(attempts(w, "failed"), cost_nanousd=0) and str(w.failed.pk),
        J.lost_cost_follows_from_attempts,
    ),
    "metadata to come": (
        lambda w: job(w.running, pending_metadata_bytes=2),
        J.pending_metadata_is_of_open_calls,
    ),
    "charged": (lambda w: job(w.done, charged_micros=1), J.charged_is_the_charge),
    "charged and never posted": (
        lambda w: job(w.failed, charge_state="charged", charged_micros=1),
        J.charged_is_the_charge,
    ),
    "posted and not on the job": (
        lambda w: job(w.done, charged_micros=0) and str(w.entry("charge").pk),
        J.charged_is_the_charge,
    ),
    "charge of no job": (charge_of_no_job, J.charged_is_the_charge),
    "charge of another team's job": (
        lambda w: job(w.done, team=w.other.team) and str(w.entry("charge").pk),
        J.charged_is_the_charge,
    ),
    "closed job that waits for nothing": (
        lambda w: job(w.done, charge_state="pending"),
        J.jobs_are_settled_when_they_end,
    ),
    "closed job that was never decided": (
        lambda w: job(w.failed, charge_state="none"),
        J.jobs_are_settled_when_they_end,
    ),
    "closed job that still holds": (
        lambda w: job(w.done, charge_state="pending", held_micros=1, open_calls=1) and job(w.done, open_calls=0),
        J.jobs_are_settled_when_they_end,
    ),
    "open job that is settled": (
        lambda w: job(w.running, charge_state="free", held_micros=0),
        J.jobs_are_settled_when_they_end,
    ),
    "work for nothing": (lambda w: job(w.done, charge_state="free"), J.jobs_are_settled_when_they_end),
    "held beyond the ceiling": (lambda w: job(w.running, max_micros=1), J.ceilings_hold),
    "charged beyond the ceiling": (lambda w: job(w.done, max_micros=1), J.ceilings_hold),
    "pause without a reason": (lambda w: job(w.running, status="paused"), J.paused_jobs_say_why),
    "reason without a pause": (lambda w: job(w.running, paused_reason="budget"), J.paused_jobs_say_why),
    "served call without its attempt": (
        lambda w: without(Attempt.objects.filter(pk__in=attempts(w, "succeeded").values("pk")), _first_served(w)),
        J.calls_and_attempts_agree,
    ),
    "served call whose attempt used other tokens": (
        lambda w: plant(attempts(w, "succeeded"), completion_tokens=1) and _first_served(w),
        J.calls_and_attempts_agree,
    ),
    "running call without its attempt": (
        lambda w: without(Attempt.objects.filter(call=w.queued), w.queued.pk),
        J.calls_and_attempts_agree,
    ),
    "claim that no attempt has": (
        lambda w: plant(Call.objects.filter(pk=w.queued.pk), claim=7),
        J.calls_and_attempts_agree,
    ),
    "attempt that outlives its call": (
        lambda w: plant(attempts(w, "failed"), state="running", ended_at=None),
        J.calls_and_attempts_agree,
    ),
    "call with a price that there is not": (
        lambda w: plant(Call.objects.filter(pk=w.queued.pk), price_id=w.queued.pk),
        J.calls_keep_their_price,
    ),
    "call with other figures than its price's": (call_with_other_figures, J.calls_keep_their_price),
    "call that rests on a price and names none": (
        lambda w: plant(Call.objects.filter(pk=w.queued.pk), price_source="price"),
        J.calls_keep_their_price,
    ),
}


def restricted_wallet(world: World) -> str:
    return str(Account.objects.get(team=world.wallet.team, restriction="audit,report").pk)


def _first_served(_world: World) -> str:
    return str(Call.objects.filter(state="succeeded").order_by("id")[0].pk)


@pytest.mark.parametrize("check", [*C.CHECKS, *J.CHECKS], ids=lambda check: check.__name__)
def test_check_finds_every_drift_planted_for_it(world, check):
    drifts = {name: sow for name, (sow, finder) in DRIFTS.items() if finder is check}
    assert drifts, "a check that no drift proves"

    missed = [name for name, sow in drifts.items() if not is_found(world, sow, check)]

    assert missed == []
    assert list(check()) == []


def is_found(world: World, sow: Plant, check: Check) -> bool:
    """Whether the check names the row that the drift made wrong. Afterwards the world is as it was."""
    with transaction.atomic():
        with append_only.lifted():
            key = sow(world)
            connection.check_constraints()
            found = list(check())
        transaction.set_rollback(True)
    return any(key in difference.subject for difference in found)


def test_ended_call_without_an_instant_cannot_be_planted_but_would_be_found(world):
    """A CHECK forbids it; the verification does not rely on that."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE jobs_call DROP CONSTRAINT call_state")
        else:
            cursor.execute("PRAGMA ignore_check_constraints = ON")
    try:
        call = Call.objects.filter(state="succeeded")[0]
        plant(Call.objects.filter(pk=call.pk), ended_at=None)
        found = [str(difference) for difference in J.calls_and_attempts_agree()]
        Call.objects.filter(pk=call.pk).update(ended_at=call.ended_at)
    finally:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA ignore_check_constraints = OFF")

    assert found == [f"call.ended_at of call:{call.pk}: expected an instant, found None"]
