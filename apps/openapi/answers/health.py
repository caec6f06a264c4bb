"""Answers about health checks."""

from typing_extensions import TypedDict


class Health(TypedDict):
    """The process lives."""

    status: str
    service: str


class Readiness(TypedDict):
    """Whether the process can do its work."""

    status: str
    database: str
