"""Takes guards out of a process that runs with `tests.chaos.settings`, to see that the checks of a run miss them.

SABOTAGE names them. A guard is cut out of the product's source text, so a guard that was moved or reworded fails
here, loudly, instead of staying in.
"""

import inspect
import os
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType

from django.apps import AppConfig

VARIABLE = "SABOTAGE"
# The last wall of the unique charge, in the database; the processes cannot take it down.
CHARGE_INDEX = "entry_job_charged_once"


def _cut(module: ModuleType, *guards: tuple[str, str], function: str | None = None) -> None:
    """Run a module's (or a function's) source again with each guard replaced.  Raises: LookupError."""
    found = module if function is None else getattr(module, function)
    assert isinstance(found, ModuleType | FunctionType)
    source = textwrap.dedent(inspect.getsource(found))
    for guard, instead in guards:
        if source.count(guard) != 1:
            raise LookupError(f"{module.__name__} has {source.count(guard)} times, not once: {guard!r}")
        source = source.replace(guard, instead)
    exec(compile(source, f"{module.__file__} (sabotaged)", "exec"), module.__dict__)


def take_out_fencing() -> None:
    """Any worker that ever had a call may end it, whoever has it now."""
    from apps.jobs import statements

    _cut(statements, ('state__in=Call.OPEN_STATES, claim=param("claim", Call)', "state__in=Call.OPEN_STATES"))


def take_out_unique_charge() -> None:
    """Whoever completes a job charges it. The job's own state guards it, and the ledger once more behind that."""
    from apps.credits import ledger
    from apps.jobs import lifecycle, services

    _cut(
        services,
        ("    if job.is_closed:\n            return job, is_replay\n", "    pass\n"),
        function="complete_job",
    )
    _cut(
        lifecycle,
        ("    if job.charge_state in (ChargeState.CHARGED, ChargeState.FREE):\n        return\n", ""),
        function="_settle_money",
    )
    _cut(
        ledger,
        ('f"charge:job:{job}"', "f'charge:job:{job}:{time.time_ns()}'"),
        ("        if first is not None:\n            return Charge(first, first.amount_micros, 0)\n", ""),
        ("open_hold.state != Hold.State.OPEN:\n                break", "open_hold.state != 'open': open_hold = None"),
        (
            "    with transaction.atomic():\n        idempotency_key",
            "    import time\n    with transaction.atomic():\n        idempotency_key",
        ),
        function="charge",
    )


def take_out_sweeper() -> None:
    """Nothing that got stuck is resumed."""
    from apps.jobs import sweeper

    sweeper.run = sweeper.Swept


GUARDS: dict[str, Callable[[], None]] = {
    "fencing": take_out_fencing,
    "unique-charge": take_out_unique_charge,
    "sweeper": take_out_sweeper,
}


class SabotageConfig(AppConfig):
    """Listed after the product's apps, so that it finds them ready."""

    name = "tests.chaos.sabotage"
    label = "sabotage"

    def ready(self) -> None:
        for guard in os.environ[VARIABLE].split(","):
            GUARDS[guard]()
