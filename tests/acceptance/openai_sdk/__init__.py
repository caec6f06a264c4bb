"""What OpenAI's Python client does with the platform, as functions that any served platform can be checked with.

The same run on the demo (test_openai_sdk.py) and through a real LiteLLM proxy (through_litellm.py), each with the
synchronous and the asynchronous client. Where the provider behind makes a difference, the check says so.
"""

# ruff: noqa: T201 - `main` is a program that talks to its caller by printing.

import traceback
from collections.abc import Callable

from tests.acceptance.openai_sdk import asking, charging, embedding, refusals, shapes, streams, tools
from tests.acceptance.openai_sdk.platform import Customer, Platform

Check = Callable[[Customer], None]
CHECKS: tuple[Check, ...] = (
    *asking.CHECKS,
    *streams.CHECKS,
    *tools.CHECKS,
    *shapes.CHECKS,
    *embedding.CHECKS,
    *refusals.CHECKS,
    *charging.CHECKS,
)


def run(platform: Platform, check: Check, *, is_async: bool) -> None:
    """One check with a customer of its own.  Raises: whatever shows that it does not hold."""
    with platform.customer(is_async=is_async) as customer:
        check(customer)


def main(platform: Platform) -> int:
    """Every check with both clients, a line each, and a closing line. 1 when any failed."""
    failed = 0
    for check in CHECKS:
        for is_async in (False, True):
            name = f"{'async' if is_async else 'sync '} {check.__name__.replace('_', ' ')}"
            try:
                run(platform, check, is_async=is_async)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are checked too.
                failed += 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                print(f"FAIL {name}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
            else:
                print(f"ok   {name}")
    print(f"{2 * len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0
