"""The place of an instant among given ones, found by the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import DateTimeField, F, Func, IntegerField, Value


class Slot(Func):
    """How many of `points`, which ascend, are not after the column, less one: the place of the last such one."""

    output_field = IntegerField()
    arity = None

    def __init__(self, column: str, points: Sequence[datetime]) -> None:
        self.points = points
        super().__init__(F(column), *(Value(point, DateTimeField()) for point in points))

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        column, params = compiler.compile(self.source_expressions[0])
        return f"(width_bucket({column}, %s::timestamptz[]) - 1)", [*params, list(self.points)]

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        column, params = compiler.compile(self.source_expressions[0])
        cases, found = [], []
        for place, point in reversed(list(enumerate(self.source_expressions[1:]))):
            sql, values = compiler.compile(point)
            cases.append(f"WHEN {column} >= {sql} THEN {place}")
            found += [*params, *values]
        return f"CASE {' '.join(cases)} ELSE -1 END", found
