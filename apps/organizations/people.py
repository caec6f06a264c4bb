"""E-mail addresses and roles of people, operators and members alike."""

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from apps.core.errors import InvalidField
from apps.organizations.models import User

EMAIL_MAX = 254


def normalized_email(email: str) -> str:
    """In lower case, as users are kept. Raises: InvalidField for what is no address."""
    try:
        if len(email) > EMAIL_MAX:
            raise ValidationError("too long")
        validate_email(email)
    except ValidationError:
        raise InvalidField(
            "email", f"Must be an e-mail address of at most {EMAIL_MAX} characters.", value=email[:100]
        ) from None
    return User.objects.normalize_email(email).lower()


def require_role(role: str, roles: Sequence[str]) -> None:
    """Raises: InvalidField unless it is one of them."""
    if role not in roles:
        raise InvalidField("role", f"Must be one of: {', '.join(roles)}", value=role[:100])


def require_display_name(name: str) -> None:
    """Raises: InvalidField when it is too long."""
    if len(name) > 255:
        raise InvalidField("display_name", "Must have at most 255 characters.", value=name[:100])
