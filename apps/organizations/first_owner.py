"""The first owner of a platform: made once, by whoever holds the set-up code that the server prints.

The code is derived from SECRET_KEY and the installation's id, so that all processes agree on it without keeping it.
"""

import base64

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils.crypto import salted_hmac

from apps.core import audit, crypto, settings_store
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.organizations.errors import AlreadySetUp
from apps.organizations.models import User
from apps.organizations.services import require_time_zone

_GROUPS, _GROUP = 4, 5


def exists() -> bool:
    """Whether the platform has an owner, active or not. One query."""
    return User.objects.filter(role=User.Role.OWNER).exists()


def setup_code() -> str:
    """The code, as groups of letters and digits: 100 bits."""
    digest = salted_hmac("saasllm.setup_code", settings_store.installation_id(), algorithm="sha256").digest()
    text = base64.b32encode(digest).decode()[: _GROUPS * _GROUP]
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def require_code(given: str) -> None:
    """Raises: InvalidField unless it is the set-up code, in any case and with any dashes and spaces."""
    typed = "".join(each for each in given.upper() if each.isalnum())
    if not crypto.equal(typed, setup_code().replace("-", "")):
        raise InvalidField("code", "That code is not the one in the server log.")


def create(
    *,
    email: str,
    display_name: str,
    password: str,
    time_zone: str,
    platform_name: str,
    credit_word: str,
    actor: Actor,
) -> User:
    """Make the owner and the platform's first settings, all or nothing. The caller has checked the code.

    Raises: AlreadySetUp when there is an owner, InvalidField.
    """
    require_time_zone(time_zone)
    user = User(email=_email(email), display_name=display_name, role=User.Role.OWNER, time_zone=time_zone)
    require_password(password, user)
    user.set_password(password)
    try:
        with transaction.atomic():
            # Two at once: the second waits here, and then sees the first one's owner.
            settings_store.lock_installation()
            if exists():
                raise AlreadySetUp
            user.save()
            settings_store.put("platform_name", platform_name, actor=actor)
            settings_store.put("credit_word", credit_word, actor=actor)
            settings_store.put("reporting_time_zone", time_zone, actor=actor)
            after = {"email": user.email, "role": user.role}
            audit.record("platform.setup", actor=actor, kind="user", id=user.email, after=after)
    except IntegrityError:
        raise InvalidField("email", "Somebody else has this e-mail.", value=email) from None
    return user


def _email(text: str) -> str:
    try:
        validate_email(text.strip())
    except ValidationError:
        raise InvalidField("email", "Must be an e-mail address, such as ana@example.com.") from None
    return User.objects.normalize_email(text.strip()).lower()


def require_password(password: str, user: User) -> None:
    """Raises: InvalidField, saying all that is wrong with it."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidField("password", " ".join(error.messages)) from None
