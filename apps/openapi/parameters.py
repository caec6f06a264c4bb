"""Query parameters that several operations have, as `apps.api` reads them."""

from collections.abc import Sequence

from apps.api.listing import MAX_PAGE
from apps.jobs.models import Job
from apps.openapi.operation import Query

_TEXT = {"type": "string", "minLength": 1, "maxLength": 255}
# Empty is as left out.
_CURSOR = "eyJhIjoiMjAyNi0wMy0xNVQxMjowMDowMFoifQ"
_DAY = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "maxLength": 0}]}


def page(default: int) -> tuple[Query, Query]:
    """`limit` and `offset`."""
    limit = {"type": "integer", "minimum": 1, "maximum": 999_999_999, "default": default}
    offset = {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0}
    return (
        Query("limit", f"How many to list. More than {MAX_PAGE} are taken for {MAX_PAGE}.", limit, default),
        Query("offset", "How many to skip.", offset, 0),
    )


def text(name: str, description: str, *, example: str = "acme", required: bool = False) -> Query:
    """A name, as `fields.query_text` takes it."""
    return Query(name, description, _TEXT, example, required)


def choice(name: str, description: str, words: Sequence[str]) -> Query:
    """One of these words."""
    return Query(name, description, {"type": "string", "enum": list(words)}, words[0])


def whole(name: str, description: str, *, least: int, most: int, default: int | None = None) -> Query:
    """A whole number."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Query(name, description, schema if default is None else schema | {"default": default}, default or 1)


def flag(name: str, description: str) -> Query:
    """True or false."""
    return choice(name, description, ("true", "false"))


def order(*names: str) -> Query:
    """The orders of a list, each rising or falling."""
    words = [word for name in names for word in (name, f"-{name}")]
    return choice("order", "The order; falling with - before it. Empty values come last.", words)


def long_page(*orders: str) -> tuple[Query, ...]:
    """A page of a table that grows without end, the newest first: by `cursor` or `offset`, in these other orders."""
    names = ("created_at", *orders)
    words = (*order(*names).schema["enum"], "asc", "desc")
    return (
        *page(50),
        text("cursor", "`next_cursor` or `prev_cursor` of a page, to go on from there.", example=_CURSOR),
        choice("order", "The order, -created_at without it; asc and desc go with `sort_by`.", words),
        choice("sort_by", "What to order by, with `order` asc or desc; older words for the same.", names),
    )


def instant(name: str, description: str) -> Query:
    """An instant with its time zone."""
    return Query(name, description, {"type": "string", "format": "date-time"}, "2026-03-15T12:00:00Z")


SPAN = (
    instant("from", "Only what is of this instant or later."),
    instant("to", "Only what is before this instant."),
)
ORGANIZATION_ID = text("organization_id", "Only this organization's.", example="acme-inc")
OWNERS = (text("team_id", "Only this team's."), ORGANIZATION_ID)
SEARCH = text("q", "Only those with this in their id or name, in any case.")
DATES = (
    Query("start_date", "The first day that counts in, in UTC.", _DAY, "2026-03-01"),
    Query("end_date", "The last day that counts in, in UTC.", _DAY, "2026-03-31"),
)
PERIOD = Query(
    "period",
    "A month (`YYYY-MM`) or a day (`YYYY-MM-DD`), in UTC.",
    {"type": "string", "pattern": r"^[12]\d{3}-(0[1-9]|1[0-2])(-\d{2})?$"},
    "2026-03",
    required=True,
)
AT = instant("at", "What it was at an instant in the past.")
TEAM_ID = text("team_id", "The team. A virtual key's own when left out; operators name one.")
FORMAT = choice("format", "The answer's format; without it the Accept header decides.", ("json", "csv"))
# A paused job is in progress to whoever asks. Empty is as left out.
JOB_STATUS = choice(
    "status", "Only jobs in this state.", (*(each for each in Job.Status.values if each != Job.Status.PAUSED), "")
)
