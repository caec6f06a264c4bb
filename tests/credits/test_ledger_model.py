"""Generated sequences of operations against an auditor that predicts each reply and every balance.

With CI set 500 sequences of 50 steps, the same in every run, so that a change is judged by what it changed. Elsewhere
a few, others each time. LEDGER_MODEL_EXAMPLES and LEDGER_MODEL_STEPS make it as long as one likes;
LEDGER_MODEL_SHRINK finds the shortest failure.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from apps.core.errors import DomainError, IdempotencyConflict
from apps.credits import billing, ledger
from apps.credits.models import Account, Entry, Grant, Hold
from apps.teams.models import Team
from tests import make
from tests.credits import books
from tests.credits.auditor import GRACE_DAYS, NEVER, Auditor, Charged, Held, Posted
from tests.credits.auditor_offers import Offers
from tests.credits.offers_rules import OffersRules

IS_CI = bool(os.environ.get("CI"))
EXAMPLES = int(os.environ.get("LEDGER_MODEL_EXAMPLES", "500" if IS_CI else "20"))
# Each is a test of its own, for the workers of a parallel run to share.
PARTS = 5 if EXAMPLES >= 100 else 1
STEPS = int(os.environ.get("LEDGER_MODEL_STEPS", "50"))
# Shrinking a failure to its shortest form takes minutes; the seed that is printed repeats it as it was.
PHASES = [phase for phase in Phase if phase != Phase.shrink or "LEDGER_MODEL_SHRINK" in os.environ]

# Few of each, so that operations meet: repeats, conflicts, closed holds and empty wallets are the rule.
jobs = st.sampled_from("abcdefgh")
keys = st.sampled_from([f"k{number}" for number in range(12)])
amounts = st.integers(1, 12)
amounts_or_none = st.integers(0, 14)
external_ids = st.sampled_from([None, None, None, None, "p1", "p2"])
kinds = st.sampled_from(Grant.Kind.values)
lifetimes = st.sampled_from([3, 10, 20, NEVER])
# The general wallet, those restricted to job types, the pool.
owners = st.sampled_from(["", "", "", "r", "r,s", "pool"])


def type_of(job: str) -> str:
    """Half of the jobs are of a type that restricted credits are for."""
    return "r" if ord(job[-1]) % 2 else "x"


class LedgerMachine(OffersRules, RuleBasedStateMachine):
    """A team's wallets, its organization's pool, and their auditor. Each run is rolled back at its end."""

    team: Team
    other: Team
    originals = Bundle("originals")
    corrections = Bundle("corrections")

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.run_of_its_own = transaction.atomic()
        self.run_of_its_own.__enter__()

    @initialize(target=originals, credit_line=st.sampled_from([0, 4, 15]), amount=st.integers(5, 25))
    def start(self, credit_line: int, amount: int) -> Any:
        Account.objects.filter(team=self.team).update(credit_line_micros=credit_line)
        self.auditor = Auditor(credit_line)
        self.offers = Offers(self.auditor)
        self.ids: dict[Any, Any] = {}
        return self.grant_of("start", amount, "paid", NEVER, None)

    @rule(
        target=originals,
        key=keys,
        amount=amounts,
        kind=kinds,
        days=lifetimes,
        external_id=external_ids,
        to=owners,
    )
    def grant(self, key: str, amount: int, kind: str, days: int, external_id: str | None, to: str) -> Any:
        return self.grant_of(key, amount, kind, days, external_id, to)

    def grant_of(self, key: str, amount: int, kind: str, days: int, external_id: str | None, to: str = "") -> Any:
        terms: dict[str, Any] = {
            "amount_micros": amount,
            "actor": make.TESTER,
            "key": key,
            "kind": Grant.Kind(kind),
            "expires_at": None if days == NEVER else timezone.now() + timedelta(days=days),
            "external_id": external_id,
        }
        expected = self._predict(self.auditor.grant, key, amount, kind, days, external_id, to)
        if to == "pool":
            return self._entry(expected, self._do(ledger.grant_to_pool, self.team.organization, **terms))
        job_types = to.split(",") if to else []
        return self._entry(expected, self._do(ledger.grant, self.team, job_types=job_types, **terms))

    @rule(job=jobs, amount=amounts_or_none)
    def hold(self, job: str, amount: int) -> None:
        self._hold(
            self._predict(self.auditor.hold, job, type_of(job), amount),
            self._do(ledger.hold, self.team, job=job, amount_micros=amount, job_type=type_of(job)),
        )

    @rule(job=jobs, to=amounts_or_none)
    def extend(self, job: str, to: int) -> None:
        self._hold(
            self._predict(self.auditor.extend, job, type_of(job), to),
            self._do(ledger.extend, self.team, job=job, to_micros=to, job_type=type_of(job)),
        )

    @rule(job=jobs)
    def release(self, job: str) -> None:
        assert self._do(ledger.release, job=job) == self._predict(self.auditor.release, job)

    @rule(target=originals, job=jobs, amount=amounts_or_none)
    def charge(self, job: str, amount: int) -> Any:
        expected: Charged = self._predict(self.auditor.charge, job, type_of(job), amount)
        found: ledger.Charge = self._do(
            ledger.charge, self.team, job=job, amount_micros=amount, job_type=type_of(job)
        )
        assert (found.charged_micros, found.uncollected_micros) == (expected.charged, expected.uncollected)
        posted = Entry.objects.filter(kind="charge", job=job).order_by("debit_account")
        entries = {entry.debit_account.restriction: entry.pk for entry in posted}
        assert set(entries) == {entry.account.name for entry in expected.entries}
        assert found.entry_id == next(iter(entries.values()), None)
        for entry in expected.entries:
            assert entries[entry.account.name] == self.ids.setdefault(entry, entries[entry.account.name])
        return multiple(*expected.entries)

    @rule(target=originals, amount=st.integers(3, 15), kind=kinds, days=lifetimes)
    def top_up(self, amount: int, kind: str, days: int) -> Any:
        self.number += 1
        return self.grant_of(f"top-up {self.number}", amount, kind, days, None)

    @rule(target=originals, amount=st.integers(1, 25), more=st.integers(-3, 3))
    def work(self, amount: int, more: int) -> Any:
        self.number += 1
        self.hold(f"job {self.number}", amount)
        return self.charge(f"job {self.number}", max(0, amount + more))

    @rule(target=originals, days=st.integers(1, 6), is_swept=st.booleans())
    def days_pass(self, days: int, is_swept: bool) -> Any:
        self.auditor.today += days
        books.pass_days(days)
        return self.give_what_is_due() if is_swept else multiple()

    @rule()
    def sweep(self) -> None:
        for account in self.auditor.accounts:
            account.settle()
        ledger.expire_due()

    @rule(target=corrections, key=keys, amount=amounts)
    def allocate(self, key: str, amount: int) -> Any:
        return self._entry(
            self._predict(self.auditor.allocate, key, amount),
            self._do(ledger.allocate, self.team, amount_micros=amount, actor=make.TESTER, key=key),
        )

    @rule(target=corrections, key=keys, amount=amounts)
    def reclaim(self, key: str, amount: int) -> Any:
        return self._entry(
            self._predict(self.auditor.reclaim, key, amount),
            self._do(ledger.reclaim, self.team, amount_micros=amount, actor=make.TESTER, key=key),
        )

    @rule(target=originals, amount=st.integers(5, 20), part=st.integers(1, 5), kind=kinds, days=lifetimes)
    def fund_from_the_pool(self, amount: int, part: int, kind: str, days: int) -> Any:
        self.number += 1
        granted = self.grant_of(f"pool {self.number}", amount, kind, days, None, "pool")
        self.allocate(f"pool {self.number}", part)
        return granted

    @rule(amount=st.sampled_from([0, 2, 4, 15]))
    def set_credit_line(self, amount: int) -> None:
        expected = self._predict(self.auditor.set_credit_line, amount)
        assert self._do(ledger.set_credit_line, self.team, amount_micros=amount) == expected

    @rule(target=corrections, key=keys, amount=st.integers(1, 4))
    def adjust(self, key: str, amount: int) -> Any:
        return self._entry(
            self._predict(self.auditor.adjust, key, amount),
            self._do(ledger.adjust, self.team, amount_micros=amount, actor=make.TESTER, key=key, reason="model"),
        )

    @rule(
        target=corrections,
        original=st.one_of(originals, originals, originals, corrections),
        key=keys,
        amount=amounts_or_none,
        external_id=external_ids,
    )
    def reverse(self, original: Posted, key: str, amount: int, external_id: str | None) -> Any:
        return self._entry(
            self._predict(self.auditor.reverse, original, key, amount, external_id),
            self._do(
                ledger.reverse,
                Entry.objects.get(pk=self.ids[original]),
                amount_micros=amount,
                actor=make.TESTER,
                key=key,
                reason="model",
                external_id=external_id,
            ),
        )

    @rule(original=consumes(originals), parts=st.integers(1, 3))
    def reverse_in_parts(self, original: Posted, parts: int) -> None:
        """All that is left of it, to the last micro."""
        for part in range(parts):
            left = original.amount - original.reversed
            self.reverse(original, f"part {part}", left if part == parts - 1 else left // 2, None)

    @rule(job=jobs)
    def charge_for_somebody_else(self, job: str) -> None:
        held = self.auditor.holds.get(job)
        if held is not None and held.charges:
            assert self._do(ledger.charge, self.other, job=job, amount_micros=1) is IdempotencyConflict

    @invariant()
    def balances_lots_and_holds_are_as_predicted(self) -> None:
        if not hasattr(self, "auditor"):
            return
        accounts = {self._name(account): account for account in self._accounts()}
        lots, holds = self._rows_by_account([account.pk for account in accounts.values()])
        for expected in self.auditor.accounts:
            account = accounts.get(expected.name, Account())
            names = ("posted", "held", "debt", "allocated", "used", "credit_line")
            figures = {name: getattr(expected, name) for name in names} | {"seq": expected.seq}
            assert {name: getattr(account, f"{name}_micros") for name in names} | {"seq": account.seq} == figures
            assert account.posted_micros - account.held_micros + account.credit_line_micros + account.debt_micros >= 0
            assert lots[account.pk] == [(lot.kind, lot.remaining) for lot in expected.in_burn_order]
            assert holds[account.pk] == {
                job: held.parts[expected].amount
                for job, held in self.auditor.holds.items()
                if held.is_open and expected in held.parts
            }

    @invariant()
    def what_is_shown_can_be_spent(self) -> None:
        if not hasattr(self, "auditor"):
            return
        general = self.auditor.general
        expired = sum(amount for _, amount in general.due())
        assert billing.balance(self.team).spendable_micros == general.posted - general.held - expired

    def teardown(self) -> None:
        try:
            ledger.expire_due()
            assert books.ledger_differences() == []
        finally:
            transaction.set_rollback(True)
            self.run_of_its_own.__exit__(None, None, None)

    def _accounts(self) -> Iterable[Account]:
        pool = Q(kind=Account.Kind.POOL, organization=self.team.organization_id)
        return Account.objects.filter(Q(team=self.team) | pool)

    def _name(self, account: Account) -> str:
        return "pool" if account.kind == Account.Kind.POOL else account.restriction

    def _rows_by_account(self, ids: list[int]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Lots in burn order, and what each job holds: few queries, since this is asked after every step."""
        lots: dict[Any, list[tuple[str, int]]] = defaultdict(list)
        for account_id, *lot in Grant.objects.filter(account__in=ids).values_list(
            "account", "kind", "remaining_micros"
        ):
            lots[account_id].append(tuple(lot))
        holds: dict[Any, dict[str, int]] = defaultdict(dict)
        open_holds = Hold.objects.filter(account__in=ids, state="open")
        for account_id, job, amount in open_holds.values_list("account", "job", "amount_micros"):
            holds[account_id][job] = amount
        return lots, holds

    def _predict(self, operation: Any, *args: Any) -> Any:
        return _outcome(lambda: operation(*args))

    def _do(self, operation: Any, *args: Any, **named: Any) -> Any:
        return _outcome(lambda: operation(*args, **named))

    def _entry(self, expected: Any, found: Any) -> Any:
        """The same refusal, or the same entry: a repeat must return the very first."""
        if not isinstance(expected, Posted):
            assert found is expected
            return multiple()
        assert (found.kind, found.amount_micros) == (expected.kind, expected.amount)
        assert found.pk == self.ids.setdefault(expected, found.pk)
        return expected

    def _hold(self, expected: Any, found: Any) -> None:
        """The job's hold on the general wallet is what is returned."""
        if isinstance(expected, Held):
            assert (found.state, found.amount_micros) == ("open", expected.parts[self.auditor.general].amount)
        else:
            assert found is expected


def _outcome(operation: Any) -> Any:
    """What an operation returns, or the kind of its refusal."""
    try:
        return operation()
    except DomainError as error:
        return type(error)


@pytest.mark.parametrize("part", range(PARTS))
def test_ledger_does_what_the_auditor_predicts(team, other_team, settings, part):
    settings.REFUND_GRACE_DAYS = GRACE_DAYS

    class Machine(LedgerMachine):
        pass

    Machine.team, Machine.other = team, other_team
    profile = hypothesis.settings(
        max_examples=-(-EXAMPLES // PARTS),
        stateful_step_count=STEPS,
        deadline=None,
        phases=PHASES,
        # What differs from part to part is the seed: else each would repeat the first.
        derandomize=False,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(part)(Machine) if IS_CI else Machine, settings=profile)
