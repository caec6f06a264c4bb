"""Identifiers: UUIDv7 for our rows, caller-chosen strings for tenants. Time-ordered, so inserts stay local."""

import re
import uuid
from datetime import datetime

import uuid_utils.compat

# Words that are path segments under /api/teams/ and /api/organizations/: an id may not shadow a route.
RESERVED_IDS = frozenset({"create", "verify", "list", "new", "me", "keys", "usage", "status", "teams"})
_PUBLIC_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*")


def new_id() -> uuid.UUID:
    """A new UUIDv7 (RFC 9562 section 5.7)."""
    return uuid_utils.compat.uuid7()


def first_id_at(instant: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of an instant: rows with that id or a later one were made then or later."""
    return uuid.UUID(int=(int(instant.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))


def parse_uuid(text: object) -> uuid.UUID | None:
    """The UUID that `text` spells, or None: a malformed id is an unknown id, not an error."""
    if isinstance(text, uuid.UUID):
        return text
    try:
        return uuid.UUID(str(text))
    except ValueError:
        return None


def is_public_id(text: str) -> bool:
    """Whether a caller may choose `text` as the id of an organization or a team."""
    return bool(_PUBLIC_ID.fullmatch(text)) and text.lower() not in RESERVED_IDS
