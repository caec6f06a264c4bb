"""What an account has, changed by one statement each: the guard, the change and the new balance together.

The CHECKs of the account hold whatever is asked here. Amounts are micros.
"""

from dataclasses import dataclass

from django.db import connection
from django.db.models import BigIntegerField, BooleanField, ExpressionWrapper, F, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from apps.core.errors import InvalidRequest
from apps.core.money import MAX_CREDITS, MICROS
from apps.core.prepared import Param, Select, Update, param
from apps.credits.models import Account
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Side:
    """A balance after a change: `seq` numbers the entry on this account."""

    posted: int
    held: int
    seq: int
    debt: int


def is_due(account: str = "") -> Combinable:
    """Whether something of an account may have expired that is not posted; `account` leads to it."""
    return ExpressionWrapper(Q(**{f"{account}next_expiry_at__lte": Now()}), output_field=BooleanField())


# For who has the account's lock and knows what it has: the same as `post` with an entry, and no answer.
POST: Update = Update(
    lambda: Account.objects.filter(pk=param("id", Account)),
    lambda: {
        "posted_micros": F("posted_micros") + Param("posted", BigIntegerField()),
        "held_micros": F("held_micros") + Param("held", BigIntegerField()),
        "used_micros": F("used_micros") + Param("used", BigIntegerField()),
        "seq": F("seq") + 1,
    },
)


def require_amount(amount_micros: int, *, least: int = 1) -> None:
    """No negative amount turns a charge into a gift, and none is so large that sums could overflow."""
    if not least <= amount_micros <= MAX_CREDITS * MICROS:
        raise InvalidRequest(f"An amount must be from {least} to {MAX_CREDITS * MICROS} micros, not {amount_micros}.")


def lock(*account_ids: int) -> bool:
    """Take accounts' row locks, in the order of their ids. Whether one of them has restricted wallets beside it."""
    locked = Account.objects.select_for_update().filter(pk__in=account_ids).order_by("pk")
    return any(locked.values_list("has_restricted", flat=True))


# Of an account about which a hold's one statement cannot decide alone: something of it may have expired, or there
# are restricted wallets to hold from first.
IS_PLAIN = "(next_expiry_at IS NULL OR next_expiry_at > CURRENT_TIMESTAMP) AND NOT has_restricted"


# By micros, the team's id, micros again.
RESERVE = (
    "UPDATE credits_account SET held_micros = held_micros + %s"  # noqa: S608  (a constant)
    " WHERE team_id = %s AND kind = 'wallet' AND restriction = ''"
    f" AND posted_micros - held_micros + credit_line_micros >= %s AND {IS_PLAIN} RETURNING id"
)


def reserve(team: Team, amount_micros: int) -> int | None:
    """Raise `held` of the general wallet if that much can be spent, and nothing else is to be decided. Its id, or
    None."""
    with connection.cursor() as cursor:
        cursor.execute(RESERVE, [amount_micros, team.pk, amount_micros])
        row = cursor.fetchone()
    return int(row[0]) if row else None


_SPECIAL: Select[Account] = Select(
    lambda: Account.objects.filter(
        Q(has_restricted=True) | Q(next_expiry_at__lte=Now()),
        team=param("team", Account),
        kind=Account.Kind.WALLET,
        restriction="",
    ).only("id")
)


def is_special(team: Team) -> bool:
    """Whether it was for more than lack of credits that `reserve` could not."""
    return _SPECIAL.first(team=team.pk) is not None


def post(account_id: int, *, posted: int = 0, held: int = 0, allocated: int = 0, used: int = 0) -> Side:
    """Change an account without a guard of its own (the CHECKs still hold) and number the entry, if any."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credits_account SET posted_micros = posted_micros + %s, held_micros = held_micros + %s,"
            " allocated_micros = allocated_micros + %s, used_micros = used_micros + %s, seq = seq + %s"
            " WHERE id = %s RETURNING posted_micros, held_micros, seq, debt_micros",
            [posted, held, allocated, used, 1 if posted else 0, account_id],
        )
        return Side(*cursor.fetchone())


def take(account_id: int, amount_micros: int) -> Side | None:
    """Take that much out of what the account has and does not hold, as never granted. None when it has less."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credits_account SET posted_micros = posted_micros - %s,"
            " allocated_micros = allocated_micros - %s, seq = seq + 1"
            " WHERE id = %s AND posted_micros - held_micros >= %s"
            " RETURNING posted_micros, held_micros, seq, debt_micros",
            [amount_micros, amount_micros, account_id, amount_micros],
        )
        row = cursor.fetchone()
    return Side(*row) if row else None


def change_debt(account_id: int, by_micros: int) -> None:
    Account.objects.filter(pk=account_id).update(debt_micros=F("debt_micros") + by_micros)
