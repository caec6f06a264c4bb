"""Takes guards out of a process that runs with `tests.chaos.settings`, to see that a run notices.

SABOTAGE names them. A guard is cut out of the product's own source text, so one that was moved or reworded fails
here, loudly, instead of staying in unnoticed.
"""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType, ModuleType

from django.apps import AppConfig

VARIABLE = "SABOTAGE"
# The last wall of the unique charge is in the database, out of a process's reach.
CHARGE_INDEX = "entry_job_charged_once"


@dataclass(frozen=True, slots=True)
class Cut:
    """Text that guards, in a function (or a whole module), and what stands there instead."""

    module: str
    function: str | None
    replaced: Mapping[str, str]

    def make(self) -> None:
        """Run the source again without the guards.  Raises: LookupError when one is not there exactly once."""
        module = import_module(self.module)
        found = module if self.function is None else getattr(module, self.function)
        assert isinstance(found, ModuleType | FunctionType)
        source = inspect.getsource(found)
        for guard, instead in self.replaced.items():
            if source.count(guard) != 1:
                raise LookupError(f"{self.module} has {source.count(guard)} times, not once: {guard!r}")
            source = source.replace(guard, instead)
        code = compile(source, f"{module.__file__} (sabotaged)", "exec")
        if isinstance(found, ModuleType):
            before = dict(vars(module))
            exec(code, module.__dict__)
            # A package that exports what the module made has the guarded ones still.
            package = import_module(module.__package__ or module.__name__)
            for name, value in list(vars(package).items()):
                if name in before and before[name] is value:
                    setattr(package, name, vars(module)[name])
            return
        made: dict[str, FunctionType] = {}
        exec(code, module.__dict__, made)
        # In the function itself: others may have it by another name, as a package that exports it does.
        found.__code__ = made[found.__name__].__code__


GUARDS = {
    # Any worker that ever had a call may end it, whoever has it now.
    "fencing": [
        Cut(
            "apps.jobs.statements.ending",
            None,
            {
                'state__in=Call.OPEN_STATES, claim=param("claim", Call)': "state__in=Call.OPEN_STATES",
                "jobs_call.id = given.id AND jobs_call.claim = given.claim AND": "jobs_call.id = given.id AND",
                "RETURNING jobs_call.id, jobs_call.claim": "RETURNING jobs_call.id, given.claim",
            },
        )
    ],
    # The two walls before a second charge of a job. While one stands a run stays green without the other.
    "job-state": [
        Cut("apps.jobs.services", "complete_job", {"if job.is_closed:": "if False:"}),
        Cut(
            "apps.jobs.lifecycle",
            "_settle_credits",
            {"if job.charge_state in (ChargeState.CHARGED, ChargeState.FREE):": "if False:"},
        ),
    ],
    "unique-charge": [
        Cut(
            "apps.credits.ledger.charging",
            "charge",
            {
                "if held is not None and held.state != Hold.State.OPEN:": "if False:",
                "holds.close(held, Hold.State.CHARGED)": "holds.close(held, Hold.State.CHARGED) or 0",
            },
        ),
        Cut(
            "apps.credits.ledger.charging",
            "_post",
            {'else f"charge:job:{job}"': 'else f"charge:job:{job}:{new_id()}"'},
        ),
    ],
    # Nothing that got stuck is resumed.
    "sweeper": [Cut("apps.jobs.sweeper", "run", {"    swept = Swept()\n": "    return Swept()\n"})],
}


class SabotageConfig(AppConfig):
    """Listed after the product's apps, so that it finds them ready."""

    name = "tests.chaos.sabotage"
    label = "sabotage"

    def ready(self) -> None:
        for guard in os.environ[VARIABLE].split(","):
            for cut in GUARDS[guard]:
                cut.make()
