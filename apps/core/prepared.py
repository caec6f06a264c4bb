"""Querysets compiled once and run many times, for the statements of the call path.

Building SQL is most of what an ORM query costs (0.3 to 1 ms against 0.09 for the statement itself). Here the
queryset stays the definition, and is compiled at its first use with named parameters in the place of values.
Decision 0004 says why this and not SQL by hand.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from django.db import connection, models
from django.db.models import BooleanField, F, Field, ForeignKey, Func, QuerySet
from django.db.models.expressions import Expression
from django.db.models.query import get_related_populators  # type: ignore[attr-defined]
from django.db.models.sql import InsertQuery, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

from apps.core import json_bytes

M = TypeVar("M", bound=models.Model)


class Param(Expression):
    """A value given at each run, prepared for the database as `output_field` prepares it."""

    def __init__(self, name: str, output_field: "Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, list[Any]]:
        return "%s", [self]


def param(name: str, model: type[models.Model], field: str | None = None) -> Param:
    """A parameter for a column of `model`; the column's name is the parameter's, unless `field` says."""
    found = model._meta.get_field(field or name)
    if not isinstance(found, Field):
        raise TypeError(f"{found} is no column")
    return Param(name, found)


class _GivenList(Field):  # type: ignore[type-arg]
    """A list as it is: the driver makes an array of it."""


def any_of(column: str, name: str) -> Func:
    """The condition that `column` is one of a list, which is one parameter however long it is. PostgreSQL's alone."""
    return Func(
        F(column),
        Param(name, _GivenList()),
        template="%(expressions)s)",
        arg_joiner=" = ANY(",
        output_field=BooleanField(),
    )


_UNCHANGED = frozenset(("CharField", "TextField", "BooleanField", "DateTimeField", "DurationField"))


def _preparer(field: "Field[Any, Any]") -> Callable[[Any], Any]:
    """What `field` does to a value on its way to the database, without asking at each value what that is.

    For the kinds of column that the call path writes most; on SQLite and for others, the field itself is asked.
    """
    while isinstance(field, ForeignKey):
        field = field.target_field
    if connection.vendor == "postgresql":
        kind = field.get_internal_type()
        if isinstance(field, _GivenList) or kind in _UNCHANGED:
            return lambda value: value
        of_width = connection.ops.integerfield_type_map.get(kind)  # type: ignore[attr-defined]
        if of_width is not None:
            # One type a column, whatever the value: else each size of number would be a statement of its own.
            return lambda value: value if value is None else of_width(value)
    return lambda value: field.get_db_prep_save(value, connection)


class _Statement:
    """SQL and where its parameters go, compiled once a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sql: str | None = None
        self._places: list[tuple[str, Any]] = []

    def _compile(self) -> tuple[str, Iterable[Any]]:
        raise NotImplementedError

    def prepared(self, values: dict[str, Any]) -> tuple[str, list[Any]]:
        """The SQL, and the parameters that `values` make for it, as the database wants them."""
        if self._sql is None:
            with self._lock:
                if self._sql is None:
                    sql, parameters = self._compile()
                    self._places = [
                        (given.name, _preparer(given.output_field)) if isinstance(given, Param) else ("", given)
                        for given in parameters
                    ]
                    self._sql = sql
        return self._sql, [place(values[name]) if name else place for name, place in self._places]


class Select(_Statement, Generic[M]):
    """Rows of a queryset as model instances, with what it selects beside them."""

    def __init__(self, build: Callable[[], "QuerySet[M, M]"]) -> None:
        super().__init__()
        self._build = build

    def _compile(self) -> tuple[str, Iterable[Any]]:
        query = self._build().query
        compiler = query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        # What django.db.models.query.ModelIterable works out anew for every query.
        klass_info: Any = compiler.klass_info
        positions = klass_info["select_fields"]
        self._first, self._last = positions[0], positions[-1] + 1
        self._model: type[M] = klass_info["model"]
        # A set, since Django looks for each field of the model in it when not all were selected.
        self._names = frozenset(column[0].target.attname for column in compiler.select[self._first : self._last])
        self._related = get_related_populators(klass_info, compiler.select, "default")
        self._annotations = dict(compiler.annotation_col_map or {})
        expressions = [column[0] for column in compiler.select[: compiler.col_count]]
        self._converters = [
            (position, functions, expression)
            for position, (functions, expression) in compiler.get_converters(expressions).items()
        ]
        return sql, parameters

    def first(self, **values: Any) -> M | None:
        """The first row, or None."""
        with connection.cursor() as cursor:
            cursor.execute(*self.prepared(values))
            row = cursor.fetchone()
        return None if row is None else self._instance(row)

    def all(self, **values: Any) -> list[M]:
        """Every row."""
        with connection.cursor() as cursor:
            cursor.execute(*self.prepared(values))
            return [self._instance(row) for row in cursor.fetchall()]

    def _instance(self, columns: Iterable[Any]) -> M:
        row = list(columns)
        for position, functions, expression in self._converters:
            for function in functions:
                row[position] = function(row[position], expression, connection)
        found = self._model.from_db("default", self._names, row[self._first : self._last])
        for related in self._related:
            related.populate(row, found)
        for name, position in self._annotations.items():
            setattr(found, name, row[position])
        return found


class Update(_Statement):
    """A guarded UPDATE: `assign` are the new values, the queryset is the guard."""

    def __init__(self, build: Callable[[], "QuerySet[Any, Any]"], assign: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._build = build
        self._assign = assign

    def _compile(self) -> tuple[str, Iterable[Any]]:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._assign())
        query.annotations = {}
        query.clear_ordering(force=True)
        return query.get_compiler(connection=connection).as_sql()  # type: ignore[no-any-return]

    def run(self, **values: Any) -> int:
        """How many rows it changed."""
        with connection.cursor() as cursor:
            cursor.execute(*self.prepared(values))
            return int(cursor.rowcount)


class Insert(_Statement):
    """An INSERT of the columns in `assign`; the others take their database defaults. One of those can be returned."""

    def __init__(
        self, model: type[models.Model], assign: Callable[[], dict[str, Any]], *, returning: str | None = None
    ) -> None:
        super().__init__()
        self._model = model
        self._assign = assign
        self._returning = returning

    def _compile(self) -> tuple[str, Iterable[Any]]:
        assigned = self._assign()
        columns: list[Any] = [self._model._meta.get_field(name) for name in assigned]
        row: Any = self._model()
        for column in columns:
            setattr(row, column.attname, assigned[column.name])
        query = InsertQuery(self._model)
        query.insert_values(columns, [row])
        sql, parameters = query.get_compiler(connection=connection).as_sql()[0]
        if self._returning is not None:
            field: Any = self._model._meta.get_field(self._returning)
            sql += f" RETURNING {connection.ops.quote_name(field.column)}"
            self._returned = field.get_col(self._model._meta.db_table)
            self._converters = [
                *connection.ops.get_db_converters(self._returned),
                *self._returned.get_db_converters(connection),
            ]
        return sql, parameters

    def run_returning(self, **values: Any) -> Any:
        """Insert a row. The value of its returned column."""
        with connection.cursor() as cursor:
            cursor.execute(*self.prepared(values))
            (value,) = cursor.fetchone()
        for convert in self._converters:
            value = convert(value, self._returned, connection)
        return value

    def run(self, **values: Any) -> int:
        """How many rows it made: one."""
        with connection.cursor() as cursor:
            cursor.execute(*self.prepared(values))
            return int(cursor.rowcount)


def columns(model: type[models.Model], *names: str) -> dict[str, Any]:
    """An assignment of parameters to columns, each named as its column."""
    return {name: param(name, model) for name in names}


def attributes(row: models.Model, names: Iterable[str]) -> dict[str, Any]:
    """The values of a row's columns, by column name, for a statement's parameters."""
    fields: Any = row._meta
    return {name: getattr(row, fields.get_field(name).attname) for name in names}


class Together:
    """Several writes to different rows as one statement where the database can (PostgreSQL), else one by one.

    Half of what a short statement costs is sending it. Each sees the rows as they were before all of them.
    """

    def __init__(self, *statements: "Update | Insert") -> None:
        self._statements = statements

    def run(self, *values: dict[str, Any]) -> int:
        """Run them with their values, in order. How many rows the last one changed."""
        if connection.vendor != "postgresql":
            changed = 0
            for statement, given in zip(self._statements, values, strict=True):
                changed = statement.run(**given)
            return changed
        texts: list[str] = []
        parameters: list[Any] = []
        for statement, given in zip(self._statements, values, strict=True):
            text, prepared = statement.prepared(given)
            texts.append(text)
            parameters += prepared
        before = ", ".join(f"w{number} AS ({text})" for number, text in enumerate(texts[:-1]))
        with connection.cursor() as cursor:
            cursor.execute(f"WITH {before} {texts[-1]}", parameters)
            return int(cursor.rowcount)


class Rows:
    """A statement about many rows, which come as one parameter: a JSON array. PostgreSQL's alone.

    However many they are, it is one text with one plan, and encoding them costs next to nothing. `sql` is written
    by hand, with `{rows}` for a SELECT of the rows in the types of their columns (`names`, and `more` by type),
    `{columns}` for the columns of `names`, and `{assignments}` for `column = given.column` of all of them but `keys`.
    """

    def __init__(
        self,
        model: type[models.Model],
        names: Iterable[str],
        sql: str,
        *,
        keys: Iterable[str] = (),
        more: dict[str, str] | None = None,
    ) -> None:
        self._model = model
        self._names = list(names)
        self._sql = sql
        self._keys = set(keys)
        self._more = more or {}
        self._prepared: str | None = None

    def run(self, rows: Iterable[dict[str, Any]], *parameters: Any) -> list[tuple[Any, ...]]:
        """What it returns, if it returns rows. `parameters` are those of its text after the rows."""
        if self._prepared is None:
            self._prepared = self._text()
        given = json_bytes.dumps(list(rows)).decode()
        with connection.cursor() as cursor:
            cursor.execute(self._prepared, [given, *parameters])
            return cursor.fetchall() if cursor.description else []

    def _text(self) -> str:
        fields: dict[str, Field[Any, Any]] = {name: self._model._meta.get_field(name) for name in self._names}  # type: ignore[misc]
        types = {name: str(field.db_type(connection)) for name, field in fields.items()} | self._more
        # By field name in the JSON, by column in SQL.
        columns = {name: fields[name].column if name in fields else name for name in types}
        read = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
        named = ", ".join(f'"{name}" AS "{column}"' for name, column in columns.items())
        rows = f"SELECT {named} FROM json_to_recordset(%s::json) AS row_({read})"  # noqa: S608  (names of ours)
        assignments = ", ".join(
            f'"{columns[name]}" = given."{columns[name]}"' for name in self._names if name not in self._keys
        )
        listed = ", ".join(f'"{columns[name]}"' for name in self._names)
        return self._sql.format(rows=rows, columns=listed, assignments=assignments)
