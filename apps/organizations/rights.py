"""What each operator's role may do: one table, for the console and the API alike (docs/operators.md shows it).

A right is held in full or within a stated limit. Whoever asks says whether what is asked lies within it.
"""

from enum import StrEnum

from apps.core.errors import NotAllowed


class Role(StrEnum):
    """What an operator is. Customers' people have memberships instead."""

    OWNER = "owner"
    ADMIN = "admin"
    BILLING = "billing"
    SUPPORT = "support"
    VIEWER = "viewer"


class Right(StrEnum):
    """What can be done to the platform. The values are scopes of operator tokens."""

    VIEW = "view"
    EXPORT = "export"
    CUSTOMERS_WRITE = "customers.write"
    STATE_WRITE = "state.write"
    KEYS_WRITE = "keys.write"
    JOBS_WRITE = "jobs.write"
    CREDITS_WRITE = "credits.write"
    CARDS_WRITE = "cards.write"
    PRICES_WRITE = "prices.write"
    LIMITS_WRITE = "limits.write"
    CATALOG_WRITE = "catalog.write"
    CREDENTIALS_WRITE = "credentials.write"
    CONTENT_VIEW = "content.view"
    SYSTEM_RUN = "system.run"
    OPERATORS_WRITE = "operators.write"
    SETTINGS_WRITE = "settings.write"


class Level(StrEnum):
    NONE = "none"
    LIMITED = "limited"
    FULL = "full"


# In words that complete "<roles> can …".
MEANING: dict[Right, str] = {
    Right.VIEW: "see lists, objects and the audit log, without content",
    Right.EXPORT: "export lists as CSV",
    Right.CUSTOMERS_WRITE: "provision, edit and close customers and their members",
    Right.STATE_WRITE: "suspend, pause and resume customers",
    Right.KEYS_WRITE: "issue, rotate and revoke keys",
    Right.JOBS_WRITE: "cancel jobs and retry calls",
    Right.CREDITS_WRITE: "move credits: grants, allocations, adjustments, refunds, vouchers, credit lines",
    Right.CARDS_WRITE: "change rate cards",
    Right.PRICES_WRITE: "change prices",
    Right.LIMITS_WRITE: "change limits",
    Right.CATALOG_WRITE: "change models, model groups and access groups",
    Right.CREDENTIALS_WRITE: "change provider credentials",
    Right.CONTENT_VIEW: "see prompts and answers where they are stored",
    Right.SYSTEM_RUN: "run verifications, sweeps and schedules, and pause admission",
    Right.OPERATORS_WRITE: "change operators and their tokens",
    Right.SETTINGS_WRITE: "change settings",
}

_ALL = frozenset(Role)
_O, _A, _B, _S = Role.OWNER, Role.ADMIN, Role.BILLING, Role.SUPPORT

FULL: dict[Right, frozenset[Role]] = {
    Right.VIEW: _ALL,
    Right.EXPORT: frozenset({_O, _A, _B, _S}),
    Right.CUSTOMERS_WRITE: frozenset({_O, _A}),
    Right.STATE_WRITE: frozenset({_O, _A, _S}),
    Right.KEYS_WRITE: frozenset({_O, _A, _S}),
    Right.JOBS_WRITE: frozenset({_O, _A, _S}),
    Right.CREDITS_WRITE: frozenset({_O, _A, _B}),
    Right.CARDS_WRITE: frozenset({_O, _A, _B}),
    Right.PRICES_WRITE: frozenset({_O, _A, _B}),
    Right.LIMITS_WRITE: frozenset({_O, _A}),
    Right.CATALOG_WRITE: frozenset({_O, _A}),
    Right.CREDENTIALS_WRITE: frozenset({_O, _A}),
    Right.CONTENT_VIEW: frozenset({_O, _A, _S}),
    Right.SYSTEM_RUN: frozenset({_O, _A}),
    Right.OPERATORS_WRITE: frozenset({_O}),
    Right.SETTINGS_WRITE: frozenset({_O}),
}

# Who holds a right within a limit, and which.
LIMITED: dict[tuple[Right, Role], str] = {
    (Right.CUSTOMERS_WRITE, _S): "members alone",
    (Right.CREDITS_WRITE, _S): "refunds and goodwill up to a set sum",
    (Right.LIMITS_WRITE, _S): "temporary raises of up to 7 days",
    (Right.SYSTEM_RUN, _B): "verifications alone",
    (Right.OPERATORS_WRITE, _A): "neither owners nor admins",
    (Right.SETTINGS_WRITE, _A): "no security settings",
}


class RightMissing(NotAllowed):
    """Raised when an operator's role, or the scopes of a token, do not hold what was asked for."""

    code = "right_missing"


def level(role: str, right: Right) -> Level:
    """How much of `right` the role holds; no role holds nothing."""
    if role in FULL[right]:
        return Level.FULL
    return Level.LIMITED if (right, role) in LIMITED else Level.NONE


def holds(role: str, right: Right, *, within: bool = False) -> bool:
    """Whether the role may do what is asked. `within`: it lies inside the limit of those who hold it in part."""
    held = level(role, right)
    return held is Level.FULL or (within and held is Level.LIMITED)


def require(role: str, right: Right, *, within: bool = False, doing: str = "") -> None:
    """Raises: RightMissing, saying who can. `doing` completes "cannot …"; without it the right's meaning does."""
    if holds(role, right, within=within):
        return
    able = [each.value for each in Role if each in FULL[right]]
    words = doing or MEANING[right]
    limit = LIMITED.get((right, Role(role))) if role in _ALL else None
    bound = f" beyond your limit ({limit})" if limit else ""
    mine = f"Your role ({role})" if role else "Somebody without a role"
    raise RightMissing(f"{mine} cannot {words}{bound}. {_listed(able)} can.", right=right.value, role=role)


def _listed(roles: list[str]) -> str:
    named = [f"{role}s" if role in ("owner", "admin", "viewer") else role for role in roles]
    text = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    return text[0].upper() + text[1:]


# Which right changes the rows of a model, as `app.model`. Whole apps first, then the exceptions. What is absent is
# written by services alone, and by nobody in a form.
_OF_APP: dict[str, Right] = {
    "organizations": Right.CUSTOMERS_WRITE,
    "teams": Right.CUSTOMERS_WRITE,
    "virtual_keys": Right.KEYS_WRITE,
    "catalog": Right.CATALOG_WRITE,
    "credits": Right.CREDITS_WRITE,
    "limits": Right.LIMITS_WRITE,
    "payments": Right.CREDITS_WRITE,
    "jobs": Right.JOBS_WRITE,
    "core": Right.SETTINGS_WRITE,
}
_OF_MODEL: dict[str, Right] = {
    "organizations.user": Right.OPERATORS_WRITE,
    "organizations.operatortoken": Right.OPERATORS_WRITE,
    "catalog.price": Right.PRICES_WRITE,
    "catalog.providercredential": Right.CREDENTIALS_WRITE,
    "credits.ratecard": Right.CARDS_WRITE,
    "credits.ratecardversion": Right.CARDS_WRITE,
    "credits.billingsettings": Right.CARDS_WRITE,
}
# What not everybody may look at.
_TO_VIEW: dict[str, Right] = {"jobs.callpayload": Right.CONTENT_VIEW}


def of_permission(permission: str) -> Right | None:
    """The right behind one of Django's permissions, such as `teams.change_team`; None when nobody holds it."""
    app, _, codename = permission.partition(".")
    verb, _, model = codename.partition("_")
    if verb == "view":
        return _TO_VIEW.get(f"{app}.{model}", Right.VIEW)
    return _OF_MODEL.get(f"{app}.{model}") or _OF_APP.get(app)
