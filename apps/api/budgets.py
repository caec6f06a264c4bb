"""What a request says of a job's budget: its ceiling, whether that is reserved, its deadline, what is done at it."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from apps.api.parsing import Input
from apps.core.money import MAX_CREDITS, MICROS
from apps.jobs.budgets import Change
from apps.jobs.escrow import Budget

_EXACT = re.compile(r"(\d{1,13})(?:\.(\d{1,6}))?", re.ASCII)


def _micros(value: Any) -> int | None:
    """Credits, whole or as a decimal string, in micros."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('Input should be a whole number, or a decimal number as a string, e.g. "2.5"')
    found = _EXACT.fullmatch(str(value))
    if found is None:
        raise ValueError("Input should be a positive number with at most 6 decimal places")
    micros = int(found[1]) * MICROS + int((found[2] or "").ljust(6, "0"))
    if not 0 < micros <= MAX_CREDITS * MICROS:
        raise ValueError(f"Input should be greater than 0 and at most {MAX_CREDITS}")
    return micros


def _deadline(value: Any) -> datetime | int | None:
    """An instant, or seconds from now. Whether it lies ahead is judged by the database's clock."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 < value < 10**9:
            raise ValueError("Input should be a positive number of seconds")
        return value
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("Input should be seconds as a whole number, or an ISO 8601 instant with its offset")
    return at


class BudgetInput(Input):
    """The budget of a job to create."""

    max_credits: Annotated[Any, BeforeValidator(_micros)] = None
    reserve: bool | None = None
    deadline: Annotated[Any, BeforeValidator(_deadline)] = None
    on_cap: Literal["refuse", "pause"] | None = None

    def budget(self) -> Budget:
        return Budget(self.max_credits, bool(self.reserve), self.on_cap or "refuse", self.deadline)


class ChangeBudgetInput(BudgetInput):
    """Changes of a job's budget: what is left out stays; null lifts a ceiling or a deadline."""

    def change(self) -> Change:
        names = {"max_credits": "max_micros", "deadline": "deadline"}
        given = {name for field, name in names.items() if field in self.model_fields_set}
        given |= {"reserves"} if self.reserve is not None else set()
        given |= {"on_cap"} if self.on_cap is not None else set()
        return Change(frozenset(given), self.max_credits, bool(self.reserve), self.on_cap or "refuse", self.deadline)
