"""Generated sequences of operations against an auditor that predicts each reply and every balance.

LEDGER_MODEL_EXAMPLES and LEDGER_MODEL_STEPS make it as long as one likes.
"""

import os
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.core.errors import DomainError, IdempotencyConflict
from apps.credits import ledger
from apps.credits.models import Account, Entry, Grant, Hold
from apps.teams.models import Team
from tests import make
from tests.credits import books
from tests.credits.auditor import NEVER, Auditor, Charged, Held, Posted

EXAMPLES = int(os.environ.get("LEDGER_MODEL_EXAMPLES", "15"))
STEPS = int(os.environ.get("LEDGER_MODEL_STEPS", "40"))

# Few of each, so that operations meet: repeats, conflicts, closed holds and empty wallets are the rule.
jobs = st.sampled_from(["a", "b", "c", "d"])
keys = st.sampled_from(["k1", "k2", "k3", "k4", "k5"])
amounts = st.integers(1, 12)
amounts_or_none = st.integers(0, 14)
external_ids = st.sampled_from([None, None, None, "p1", "p2"])


class LedgerMachine(RuleBasedStateMachine):
    """One wallet and its auditor. Each run is rolled back at its end."""

    team: Team
    other: Team
    entries = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.now = timezone.now()
        self.run_of_its_own = transaction.atomic()
        self.run_of_its_own.__enter__()

    @initialize(credit_line=st.sampled_from([0, 0, 5]))
    def start(self, credit_line: int) -> None:
        Account.objects.filter(team=self.team).update(credit_line_micros=credit_line)
        self.auditor = Auditor(credit_line)
        self.ids: dict[Posted, Any] = {}

    @rule(
        target=entries,
        key=keys,
        amount=amounts,
        kind=st.sampled_from(Grant.Kind.values),
        days=st.sampled_from([10, 20, NEVER]),
        external_id=external_ids,
    )
    def grant(self, key: str, amount: int, kind: str, days: int, external_id: str | None) -> Posted | None:
        return self._entry(
            self._predict(self.auditor.grant, key, amount, kind, days, external_id),
            self._do(
                ledger.grant,
                self.team,
                amount_micros=amount,
                actor=make.TESTER,
                key=key,
                kind=Grant.Kind(kind),
                expires_at=None if days == NEVER else self.now + timedelta(days=days),
                external_id=external_id,
            ),
        )

    @rule(job=jobs, amount=amounts_or_none)
    def hold(self, job: str, amount: int) -> None:
        self._hold(
            self._predict(self.auditor.hold, job, amount),
            self._do(ledger.hold, self.team, job=job, amount_micros=amount),
        )

    @rule(job=jobs, to=amounts_or_none)
    def extend(self, job: str, to: int) -> None:
        self._hold(
            self._predict(self.auditor.extend, job, to), self._do(ledger.extend, self.team, job=job, to_micros=to)
        )

    @rule(job=jobs)
    def release(self, job: str) -> None:
        assert self._do(ledger.release, job=job) == self._predict(self.auditor.release, job)

    @rule(target=entries, job=jobs, amount=amounts_or_none)
    def charge(self, job: str, amount: int) -> Posted | None:
        expected: Charged = self._predict(self.auditor.charge, job, amount)
        found: ledger.Charge = self._do(ledger.charge, self.team, job=job, amount_micros=amount)
        assert (found.charged_micros, found.uncollected_micros) == (expected.charged, expected.uncollected)
        if expected.entry is None:
            assert found.entry_id is None
            return None
        assert found.entry_id == self.ids.setdefault(expected.entry, found.entry_id)
        return expected.entry

    @rule(target=entries, key=keys, amount=amounts)
    def adjust(self, key: str, amount: int) -> Posted | None:
        return self._entry(
            self._predict(self.auditor.adjust, key, amount),
            self._do(ledger.adjust, self.team, amount_micros=amount, actor=make.TESTER, key=key, reason="model"),
        )

    @precondition(lambda self: self.ids)
    @rule(target=entries, original=entries, key=keys, amount=amounts_or_none, external_id=external_ids)
    def reverse(self, original: Posted | None, key: str, amount: int, external_id: str | None) -> Posted | None:
        if original is None:
            return None
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

    @rule(job=jobs)
    def charge_for_somebody_else(self, job: str) -> None:
        held = self.auditor.holds.get(job)
        if held is not None and held.charge is not None:
            assert self._do(ledger.charge, self.other, job=job, amount_micros=1) is IdempotencyConflict

    @invariant()
    def figures_are_as_predicted(self) -> None:
        if not hasattr(self, "auditor"):
            return
        account = Account.objects.get(team=self.team)
        names = ("posted", "held", "debt", "allocated", "used")
        expected = {name: getattr(self.auditor, name) for name in names} | {"seq": self.auditor.seq}
        assert {name: getattr(account, f"{name}_micros") for name in names} | {"seq": account.seq} == expected
        assert account.posted_micros - account.held_micros + account.credit_line_micros + account.debt_micros >= 0

    @invariant()
    def lots_and_holds_are_as_predicted(self) -> None:
        if not hasattr(self, "auditor"):
            return
        lots = Grant.objects.filter(account__team=self.team).values_list("kind", "remaining_micros")
        in_order = sorted(self.auditor.lots, key=lambda lot: lot.rank)
        assert list(lots) == [(lot.kind, lot.remaining) for lot in in_order]
        holds = Hold.objects.filter(account__team=self.team, state="open").values_list("job", "amount_micros")
        assert dict(holds) == {job: held.amount for job, held in self.auditor.holds.items() if held.is_open}

    def teardown(self) -> None:
        try:
            assert books.ledger_differences() == []
        finally:
            transaction.set_rollback(True)
            self.run_of_its_own.__exit__(None, None, None)

    def _predict(self, operation: Any, *args: Any) -> Any:
        return _outcome(lambda: operation(*args))

    def _do(self, operation: Any, *args: Any, **named: Any) -> Any:
        return _outcome(lambda: operation(*args, **named))

    def _entry(self, expected: Any, found: Any) -> Posted | None:
        """The same refusal, or the same entry: a repeat must return the very first."""
        if not isinstance(expected, Posted):
            assert found is expected
            return None
        assert (found.kind, found.amount_micros) == (expected.kind, expected.amount)
        assert found.pk == self.ids.setdefault(expected, found.pk)
        return expected

    def _hold(self, expected: Any, found: Any) -> None:
        if isinstance(expected, Held):
            assert (found.state, found.amount_micros) == ("open", expected.amount)
        else:
            assert found is expected


def _outcome(operation: Any) -> Any:
    """What an operation returns, or the kind of its refusal."""
    try:
        return operation()
    except DomainError as error:
        return type(error)


def test_ledger_does_what_the_auditor_predicts(team, other_team):
    class Machine(LedgerMachine):
        pass

    Machine.team, Machine.other = team, other_team
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
