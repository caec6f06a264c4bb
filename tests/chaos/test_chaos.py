"""A small run is green, and red once a guard is taken out: the run itself is what is tested here."""

import pytest

from tests.chaos import sabotage
from tests.chaos.run import Options, Result, run
from tests.services.stack import Stack

pytestmark = pytest.mark.services

CALLS = 120
SEED = 7


def run_without(*guards: str) -> Result:
    """The same run with these guards taken out of every product process."""

    def take_out(stack: Stack) -> None:
        if "unique-charge" in guards:
            stack.execute(f"DROP INDEX {sabotage.CHARGE_INDEX}")
        # A run that cannot succeed need not wait long for it.
        stack.env["CALL_WAIT_S"] = "5"
        stack.env |= {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", sabotage.VARIABLE: ",".join(guards)}

    return run(Options(calls=CALLS, seed=SEED, rest_limit_s=4, time_limit_s=28, prepare=take_out))


def test_small_run_is_green() -> None:
    result = run(Options(calls=CALLS, seed=SEED))

    assert {kind: problems for kind, problems in result.findings.problems.items() if problems} == {}
    assert result.is_green, result.figures
    assert result.figures["kills"] > 0
    # Kills that interrupted nothing would have shown nothing.
    assert result.figures["re_executions"] > 0


def test_run_without_fencing_and_unique_charge_is_red() -> None:
    result = run_without("fencing", "job-state", "unique-charge")

    doubles = result.findings.problems["double"]
    assert any("charges" in problem for problem in doubles), result.figures
    assert any("sold that of" in problem for problem in doubles), result.figures
    assert not result.is_green


def test_run_without_the_sweeper_is_red() -> None:
    result = run_without("sweeper")

    assert result.findings.count("lost") > 0, result.figures
    assert result.findings.count("stuck") > 0
    assert not result.is_green
