"""The names of aliases, model groups and access groups: chosen by operators, part of URLs, typed by customers."""

from django.core.exceptions import ValidationError

from apps.core.errors import InvalidField
from apps.core.ids import RESERVED_IDS, is_public_id

MAX_LENGTH = 100
_RULE = (
    f"Must have at most {MAX_LENGTH} characters, start with a letter or digit and hold only letters, digits and"
    f" . _ : @ - (and be none of: {', '.join(sorted(RESERVED_IDS))})."
)


def is_name(text: str) -> bool:
    """Whether `text` may name something of the catalog."""
    return len(text) <= MAX_LENGTH and is_public_id(text)


def require_name(field: str, value: str) -> None:
    """Raises: InvalidField, naming `field`, when `value` may not be a name."""
    if not is_name(value):
        raise InvalidField(field, _RULE, value=value[:MAX_LENGTH])


def validate_name(value: str) -> None:
    """The same for forms. Raises: ValidationError."""
    if not is_name(value):
        raise ValidationError(_RULE)


def listed(names: list[str], *, at_most: int = 20) -> str:
    """Names for a message, cut when there are many."""
    shown = ", ".join(names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"
