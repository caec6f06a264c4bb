"""Instants by the database's clock, as parameters of compiled statements."""

from django.db.models import (
    DateTimeField,
    DurationField,
    ExpressionWrapper,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from apps.core.prepared import Param


def from_now(name: str) -> Combinable:
    """The database's clock plus the parameter, a duration (which may be negative)."""
    return ExpressionWrapper(Now() + Param(name, DurationField()), output_field=DateTimeField())
