"""Rules of the ledger's state machine for credits to come: vouchers, allowances, grants dated ahead."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, multiple, rule

from apps.credits import allowances, vouchers
from apps.credits.models import Entry, Grant
from apps.teams.models import Team
from tests import make
from tests.credits.auditor import NEVER
from tests.credits.auditor_offers import Code, Offers, Planned

kinds = st.sampled_from(Grant.Kind.values)
lifetimes = st.sampled_from([3, 10, NEVER])
amounts = st.integers(1, 12)
originals = Bundle("originals")
codes = Bundle("codes")
plans = Bundle("plans")


class OffersRules:
    """Beside the rules of the machine, which has the predictions and comparisons."""

    team: Team
    other: Team
    offers: Offers
    ids: dict[Any, Any]
    days_pass: Any
    _predict: Any
    _do: Any
    _entry: Any

    @rule(
        target=codes,
        amount=amounts,
        kind=kinds,
        max_uses=st.integers(1, 2),
        ours=st.booleans(),
        lasts=lifetimes,
        credits_last=lifetimes,
    )
    def make_voucher(self, amount: int, kind: str, max_uses: int, ours: bool, lasts: int, credits_last: int) -> Any:
        today = self.offers.auditor.today
        code = Code(amount, kind, max_uses, ours, NEVER if lasts == NEVER else today + lasts, credits_last)
        self.ids[code] = vouchers.create(
            amount_micros=amount,
            actor=make.TESTER,
            kind=Grant.Kind(kind),
            max_uses=max_uses,
            organization=self.team.organization if ours else None,
            expires_at=_in_days(lasts),
            credits_last_days=None if credits_last == NEVER else credits_last,
        )
        return code

    @rule(target=originals, code=codes, who=st.sampled_from(["us", "us", "them"]))
    def redeem(self, code: Code, who: str) -> Any:
        expected = self._predict(self.offers.redeem, code, who)
        redeemer = self.team if who == "us" else self.other
        found = self._do(vouchers.redeem, redeemer, self.ids[code][1], actor=make.TESTER)
        if expected is None:
            assert found.entry.amount_micros == code.amount
            return multiple()
        return self._entry(expected, getattr(found, "entry", found))

    @rule(code=codes)
    def withdraw(self, code: Code) -> None:
        code.is_withdrawn = True
        vouchers.disable(str(self.ids[code][0].pk), actor=make.TESTER)

    @rule(
        enabled=st.sampled_from([True, True, True, False]),
        amount=st.integers(1, 6),
        period=st.sampled_from(["daily", "daily", "weekly"]),
        rolls_over=st.booleans(),
    )
    def configure_allowance(self, enabled: bool, amount: int, period: str, rolls_over: bool) -> None:
        self.offers.configure(enabled, amount, period, rolls_over)
        allowances.configure(
            self.team,
            enabled=enabled,
            actor=make.TESTER,
            amount_micros=amount,
            period=period,
            rolls_over=rolls_over,
        )

    @rule(target=originals, amount=st.integers(1, 6), rolls_over=st.booleans(), days=st.integers(1, 4))
    def stand_still(self, amount: int, rolls_over: bool, days: int) -> Any:
        """Refills that are missed for some days, and given then."""
        self.configure_allowance(True, amount, "daily", rolls_over)
        return self.days_pass(days, True)

    @rule(target=plans, amount=amounts, kind=kinds, ahead=st.integers(1, 5), days=lifetimes)
    def schedule(self, amount: int, kind: str, ahead: int, days: int) -> Any:
        planned = self.offers.schedule(amount, kind, ahead, days)
        effective_at = timezone.now() + timedelta(days=ahead)
        self.ids[planned] = allowances.schedule(
            self.team,
            amount_micros=amount,
            effective_at=effective_at,
            actor=make.TESTER,
            kind=Grant.Kind(kind),
            expires_at=None if days == NEVER else effective_at + timedelta(days=days),
        )
        return planned

    @rule(planned=plans)
    def cancel(self, planned: Planned) -> None:
        expected = self._predict(self.offers.cancel, planned)
        found = self._do(allowances.cancel, self.team, str(self.ids[planned].pk), actor=make.TESTER)
        assert found is expected or expected is None

    @rule(target=originals)
    def give_what_is_due(self) -> Any:
        """As the sweeper does. Whatever it finds is posted once: the next one finds nothing."""
        before = set(Entry.objects.values_list("pk", flat=True))
        expected = [*self.offers.refill(), *self.offers.post_planned()]
        assert allowances.refill_due() + allowances.post_scheduled() == len(expected)
        found = Entry.objects.exclude(pk__in=before).order_by("credit_seq")
        entries = [self._entry(*pair) for pair in zip(expected, found, strict=True)]
        return multiple(*entries)


def _in_days(days: int) -> Any:
    return None if days == NEVER else timezone.now() + timedelta(days=days)
