"""Audit rows in words: what was done, to what with a link, and what changed."""

import re
from typing import Any

from apps.console import formats, links
from apps.core.audit import REFUSED
from apps.core.models import AuditEntry

_DONE = {
    "create": "created",
    "issue": "issued",
    "change": "changed",
    "update": "changed",
    "revoke": "revoked",
    "rotate": "rotated",
    "suspend": "suspended",
    "resume": "resumed",
    "pause": "paused",
    "close": "closed",
    "delete": "deleted",
    "remove": "removed",
    "invite": "invited",
    "adjust": "adjusted",
    "reverse": "reversed",
    "refund": "refunded",
    "cancel": "cancelled",
    "activate": "activated",
    "redeem": "redeemed",
    "verify": "verified",
}
_SECRET = re.compile(r"(secret|password|api_key|digest|token)$")
NOT_SHOWN = "changed, not shown"


def what(row: AuditEntry) -> str:
    """What was done: "issued key", "tried without the right"; unknown actions by their name."""
    if row.action == REFUSED:
        return "was refused"
    noun, _, verb = row.action.partition(".")
    done = _DONE.get(verb)
    return f"{done} {noun.replace('_', ' ')}" if done else row.action.replace(".", ": ").replace("_", " ")


def url_of_object(row: AuditEntry) -> str:
    """Where what it is about has its page; empty when it has none."""
    name = row.object_id
    return {
        "team": lambda: links.maybe("team", team_id=name),
        "organization": lambda: links.maybe("org", organization_id=name),
        "key": lambda: links.maybe("key", key_id=name),
        "job": lambda: links.maybe("job", job_id=name),
        "call": lambda: links.maybe("call", call_id=name),
        "entry": lambda: links.maybe("entry", entry_id=name),
        "grant": lambda: links.maybe("grant", grant_id=name),
        "operator": lambda: links.maybe("operator", operator_id=name),
        "setting": lambda: links.maybe("settings"),
        "system": lambda: links.maybe("system"),
    }.get(row.object_kind, str)()


def shown(name: str, fields: dict[str, Any]) -> str:
    """A field's value as text. What could be a secret says so alone."""
    if name not in fields:
        return formats.UNKNOWN
    if _SECRET.search(name) and fields[name] not in (None, "", True, False):
        return NOT_SHOWN
    value = fields[name]
    return str(value) if not isinstance(value, bool) else ("yes" if value else "no")


def differences(row: AuditEntry) -> list[tuple[str, str, str]]:
    """Each field that the row names: its label, before and after."""
    names = dict.fromkeys([*row.before, *row.after])
    return [(name.replace("_", " "), shown(name, row.before), shown(name, row.after)) for name in names]


def changed(row: AuditEntry) -> str:
    """In a line: two fields and how many more."""
    found = [
        f"{label} {before} → {after}" if before != formats.UNKNOWN else f"{label} {after}"
        for label, before, after in differences(row)
    ]
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return ", ".join(found[:2]) + more
