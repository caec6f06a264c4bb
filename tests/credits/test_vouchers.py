"""Vouchers: a code gives credits to as many teams as it may, once to each, and is kept nowhere."""

from datetime import timedelta
from functools import partial

import pytest

from apps.core import clock
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.credits import vouchers
from apps.credits.errors import VoucherNotFound, VoucherNotUsable, VoucherRedeemed
from apps.credits.models import Entry, Grant, Redemption, Voucher
from tests import make
from tests.credits import books, racing
from tests.credits.conftest import team_with_wallet

pytestmark = pytest.mark.django_db(transaction=True)


def make_voucher(credits: int = 5, **more) -> tuple[Voucher, str]:
    return vouchers.create(amount_micros=credits * books.CREDIT, actor=make.TESTER, **more)


def redeem(team, code: str) -> Redemption:
    return vouchers.redeem(team, code, actor=make.TESTER)


def test_code_gives_its_credits(team):
    voucher, code = make_voucher(note="launch")

    found = redeem(team, code)

    lot = Grant.objects.get(entry=found.entry)
    assert (lot.kind, lot.amount_micros, lot.expires_at) == ("promotional", 5_000_000, None)
    assert (found.entry.source, found.entry.reason) == (f"voucher:{voucher.pk}", f"Voucher {voucher.hint}…")
    assert books.figures(team)["posted"] == 5


def test_code_is_kept_nowhere(team):
    voucher, code = make_voucher()
    redeem(team, code)

    plain = code.replace("-", "")
    rows = [*Voucher.objects.values(), *AuditEntry.objects.values(), *Entry.objects.values()]
    assert code not in str(rows)
    assert plain not in str(rows)
    assert voucher.code_hash != code


@pytest.mark.parametrize("spelled", [str.lower, lambda code: code.replace("-", " "), lambda code: f" {code} "])
def test_code_may_be_spelled_carelessly(team, spelled):
    _, code = make_voucher()

    assert redeem(team, spelled(code)).team == team


def test_look_alikes_are_read_as_digits(team, monkeypatch):
    monkeypatch.setattr(vouchers, "_generate", lambda: "01010-00000-11111-ABCDE")
    make_voucher()

    assert redeem(team, "olOI0-OOOOO-lIlIl-abcde").team == team


def test_unknown_code_is_refused(team):
    with pytest.raises(VoucherNotFound):
        redeem(team, "AAAAA-BBBBB-CCCCC-DDDDD")


def test_a_team_redeems_it_once_and_others_as_often_as_it_may(team, other_team):
    _, code = make_voucher(max_uses=2)
    third = team_with_wallet("third")

    redeem(team, code)
    with pytest.raises(VoucherRedeemed):
        redeem(team, code)
    redeem(other_team, code)
    with pytest.raises(VoucherNotUsable, match="as often as it can be"):
        redeem(third, code)

    assert Voucher.objects.get().uses == 2
    assert (books.figures(team)["posted"], books.figures(third)["posted"]) == (5, 0)


def test_expired_code_is_refused(team, monkeypatch):
    soon = clock.db_now() + timedelta(hours=1)
    _, code = make_voucher(expires_at=soon)
    monkeypatch.setattr(clock, "db_now", lambda: soon)

    with pytest.raises(VoucherNotUsable, match="expired at"):
        redeem(team, code)


def test_withdrawn_code_is_refused_and_what_it_gave_stays(team, other_team):
    voucher, code = make_voucher(max_uses=5)
    redeem(team, code)

    vouchers.disable(str(voucher.pk), actor=make.TESTER)
    vouchers.disable(str(voucher.pk), actor=make.TESTER)

    with pytest.raises(VoucherNotUsable, match="withdrawn"):
        redeem(other_team, code)
    assert books.figures(team)["posted"] == 5
    assert AuditEntry.objects.filter(action="voucher.disable").count() == 1


def test_anothers_organization_never_learns_of_it(team, other_team):
    _, code = make_voucher(organization=team.organization)

    with pytest.raises(VoucherNotFound):
        redeem(other_team, code)
    assert redeem(team, code).team == team


def test_B11_credits_last_from_their_redemption_not_from_the_codes_making(team, monkeypatch):
    _, code = make_voucher(credits_last_days=30)
    later = clock.db_now() + timedelta(days=100)
    monkeypatch.setattr(clock, "db_now", lambda: later)

    assert Grant.objects.get(entry=redeem(team, code).entry).expires_at == later + timedelta(days=30)


def test_code_that_has_expired_already_is_not_made(team):
    with pytest.raises(InvalidField):
        make_voucher(expires_at=clock.db_now() - timedelta(seconds=1))


@pytest.mark.postgresql
def test_of_many_that_redeem_at_once_as_many_have_it_as_it_may(db):
    _, code = make_voucher(max_uses=3)
    teams = [team_with_wallet(f"racer-{number}") for number in range(12)]

    racing.at_once([partial(redeem, team, code) for team in teams])

    assert Redemption.objects.count() == 3
    assert sum(books.figures(team)["posted"] for team in teams) == 15


@pytest.mark.postgresql
def test_a_team_that_redeems_it_many_times_at_once_has_it_once(team):
    _, code = make_voucher(max_uses=10)

    found = racing.at_once([partial(redeem, team, code)] * 8)

    assert [type(each) for each in found].count(Redemption) == 1
    assert books.figures(team)["posted"] == 5
