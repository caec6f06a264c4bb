"""Jobs that hold and are charged, by the product's functions and by SQL written by hand, in turns on one database.

A program of its own, started by `benchmarks.ledger` with the settings of a running system. The hand-made statements
write the same rows in the same two transactions a job, and no fewer round trips could be had without giving one of
the guards up; the checks of `ledger_verify` over both say that they did.
"""

import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import django

django.setup()

import psycopg  # noqa: E402  (models exist only once Django is set up)
from django.conf import settings  # noqa: E402
from django.db import connection  # noqa: E402

from apps.core.actors import COMMAND, SYSTEM  # noqa: E402
from apps.core.ids import new_id  # noqa: E402
from apps.credits import ledger  # noqa: E402
from apps.credits.models import REVENUE_ID, Account  # noqa: E402
from apps.credits.verification import CHECKS  # noqa: E402
from apps.organizations import services as organizations  # noqa: E402
from apps.teams import services as teams  # noqa: E402
from apps.teams.models import Team  # noqa: E402
from benchmarks.usage import yardstick_ms  # noqa: E402

_CREDITS = 1_000_000 * 1_000_000
_PRICE = 1_000_000

_HOLD = """
WITH taken AS (
    UPDATE credits_account SET held_micros = held_micros + %(amount)s
    WHERE team_id = %(team)s AND kind = 'wallet' AND restriction = ''
        AND posted_micros - held_micros + credit_line_micros >= %(amount)s
        AND (next_expiry_at IS NULL OR next_expiry_at > CURRENT_TIMESTAMP) AND NOT has_restricted
    RETURNING id
)
INSERT INTO credits_hold (id, account_id, job, amount_micros, state, opened_at)
SELECT %(id)s, taken.id, %(job)s, %(amount)s, 'open', CURRENT_TIMESTAMP FROM taken
"""
_LOCKED = """
SELECT account.id, account.seq, account.posted_micros, hold.id
FROM credits_hold AS hold JOIN credits_account AS account ON account.id = hold.account_id
WHERE hold.job = %s AND account.team_id = %s AND hold.state = 'open' FOR UPDATE OF account
"""
_LOT = """
SELECT id FROM credits_grant WHERE account_id = %s AND remaining_micros > 0
ORDER BY priority, expires_at NULLS LAST, id LIMIT 1
"""
_CHARGE = """
WITH closed AS (
    UPDATE credits_hold SET state = 'charged', closed_at = CURRENT_TIMESTAMP WHERE id = %(hold)s AND state = 'open'
), posted AS (
    UPDATE credits_account SET posted_micros = posted_micros - %(amount)s, used_micros = used_micros + %(amount)s,
        held_micros = held_micros - %(amount)s, seq = seq + 1
    WHERE id = %(account)s
), entry AS (
    INSERT INTO credits_entry (id, kind, debit_account_id, credit_account_id, amount_micros, debit_seq,
        debit_balance_micros, job, source, actor, reason, idempotency_key, created_at)
    VALUES (%(id)s, 'charge', %(account)s, %(revenue)s, %(amount)s, %(seq)s, %(balance)s, %(job)s, %(source)s,
        %(actor)s, '', %(key)s, CURRENT_TIMESTAMP)
), lot AS (
    UPDATE credits_grant SET remaining_micros = remaining_micros - %(amount)s WHERE id = %(lot)s
)
INSERT INTO credits_grantuse (entry_id, grant_id, amount_micros) VALUES (%(id)s, %(lot)s, %(amount)s)
"""

Worker = Callable[[Team, str], None]


def by_the_ledger() -> tuple[Worker, Callable[[], None]]:
    """A thread's way to do a job, and what ends it."""

    def work(team: Team, job: str) -> None:
        ledger.hold(team, job=job, amount_micros=_PRICE)
        charge = ledger.charge(team, job=job, amount_micros=_PRICE)
        assert charge.charged_micros == _PRICE

    return work, connection.close


def by_hand() -> tuple[Worker, Callable[[], None]]:
    """The same on a connection of the driver, without Django."""
    found = settings.DATABASES["default"]
    server = psycopg.connect(
        host=found["HOST"],
        port=found["PORT"],
        user=found["USER"],
        password=found["PASSWORD"],
        dbname=found["NAME"],
        autocommit=True,
        prepare_threshold=1,
    )

    def work(team: Team, job: str) -> None:
        holding = {"id": new_id(), "team": team.pk, "job": job, "amount": _PRICE}
        assert server.execute(_HOLD, holding).rowcount == 1
        with server.transaction():
            row: Any = server.execute(_LOCKED, (job, team.pk)).fetchone()
            account_id, seq, posted, hold_id = row
            lot: tuple[UUID] | None = server.execute(_LOT, (account_id,)).fetchone()
            assert lot is not None
            server.execute(
                _CHARGE,
                {
                    "id": new_id(),
                    "hold": hold_id,
                    "account": account_id,
                    "revenue": REVENUE_ID,
                    "amount": _PRICE,
                    "seq": seq + 1,
                    "balance": posted - _PRICE,
                    "job": job,
                    "source": f"job:{job}",
                    "actor": str(SYSTEM),
                    "key": f"charge:job:{job}",
                    "lot": lot[0],
                },
            )

    return work, server.close


def jobs_per_s(
    ways: Callable[[], tuple[Worker, Callable[[], None]]], wallets: list[Team], threads: int, seconds: float
) -> float:
    """Of so many threads at once, each with a connection of its own that is warm before time begins."""
    barrier = threading.Barrier(threads + 1)

    def run(number: int) -> tuple[int, float]:
        work, close = ways()
        chance = random.Random(number)
        try:
            for _ in range(20):
                work(chance.choice(wallets), str(new_id()))
            barrier.wait()
            ends_at, done = time.perf_counter() + seconds, 0
            while time.perf_counter() < ends_at:
                work(chance.choice(wallets), str(new_id()))
                done += 1
            return done, time.perf_counter()
        except BaseException:
            barrier.abort()
            raise
        finally:
            close()

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(run, number) for number in range(threads)]
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            for each in running:
                each.result()
        began = time.perf_counter()
        ended = [each.result() for each in running]
    return sum(done for done, _ in ended) / (max(end for _, end in ended) - began)


def measured(wallets: list[Team], threads: int, seconds: float, pairs: int) -> dict[str, Any]:
    """In turns, so that both meet the same neighbours; the ratio is the median of the pairs'."""
    jobs_per_s(by_the_ledger, wallets, threads, min(seconds, 1))
    # Plans are made for tables that have rows, as those of a running system.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    found = [[jobs_per_s(way, wallets, threads, seconds) for way in (by_the_ledger, by_hand)] for _ in range(pairs)]
    return {
        "wallets": len(wallets),
        "clients": threads,
        "jobs_per_s": statistics.median(ours for ours, _ in found),
        "by_hand_per_s": statistics.median(theirs for _, theirs in found),
        "ratio": statistics.median(ours / theirs for ours, theirs in found),
        "yardstick_ms": yardstick_ms(),
    }


def funded(count: int) -> list[Team]:
    org = organizations.create(organization_id="bench", name="bench", metadata=None, actor=COMMAND)
    made = [teams.create(org, team_id=f"bench-{number}", actor=COMMAND) for number in range(count)]
    for team in made:
        ledger.grant(team, amount_micros=_CREDITS, actor=COMMAND, key="bench")
    return made


def main(workloads: list[str], clients: list[int], wide: int, seconds: float, pairs: int) -> None:
    made = funded(wide if "ledger-wide" in workloads else 1)
    rows = [
        {"workload": workload, **measured(made[:1] if workload == "ledger-hot" else made, threads, seconds, pairs)}
        for workload in workloads
        for threads in clients
    ]
    differences = [str(difference) for check in CHECKS for difference in check()]
    entries = sum(Account.objects.filter(team__in=made).values_list("seq", flat=True))
    print(json.dumps({"rows": rows, "entries": entries, "differences": differences}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
