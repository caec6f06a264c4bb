"""Settings that operators change while the platform runs: which there are, what they are now, and changing one.

A setting's value is the environment's where its variable is set (and then it cannot be changed here), else what is
stored, else its default. Other processes see a change within `_KEPT_S`.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.core import audit
from apps.core.actors import Actor
from apps.core.errors import Conflict, InvalidField
from apps.core.ids import new_id
from apps.core.models import Setting
from apps.core.short_cache import ShortCache, forget_on_change

_KEPT_S = 2.0
# Made once for each database; what is derived from it and SECRET_KEY is this installation's alone.
_INSTALLATION = "installation_id"


class SettingChanged(Conflict):
    """Raised when somebody changed the setting since it was read."""

    code = "setting_changed"


class SettingOfEnvironment(Conflict):
    """Raised when the setting's variable is set, which wins over what is stored."""

    code = "setting_of_environment"


Reader = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Known:
    """A setting there is. `read` takes the name and what was given, and answers the value or raises InvalidField.

    `env` is the variable of saasllm/settings.py that wins over what is stored. `is_security`: owners alone change it.
    """

    default: Any
    read: Reader
    meaning: str
    env: str = ""
    is_security: bool = False


@dataclass(frozen=True, slots=True)
class Current:
    """How a setting stands: `source` is environment, stored or default; `version` 0 where nothing is stored."""

    name: str
    value: Any
    source: str
    version: int
    known: Known


def _text(longest: int) -> Reader:
    def read(name: str, given: Any) -> str:
        text = given.strip() if isinstance(given, str) else ""
        if not 0 < len(text) <= longest or any(unicodedata.category(each).startswith("C") for each in text):
            raise InvalidField(name, f"Must be 1 to {longest} characters on one line.")
        return text

    return read


def _whole(least: int, most: int) -> Reader:
    def read(name: str, given: Any) -> int:
        if isinstance(given, str) and given.strip().isascii() and given.strip().isdecimal():
            given = int(given) if len(given) < 20 else most + 1
        if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
            raise InvalidField(name, f"Must be a whole number from {least} to {most}.")
        return given

    return read


def _yes_or_no(name: str, given: Any) -> bool:
    if not isinstance(given, bool):
        raise InvalidField(name, "Must be true or false.")
    return given


def _time_zone(name: str, given: Any) -> str:
    try:
        return ZoneInfo(given if isinstance(given, str) else "").key
    except (ValueError, OSError, KeyError):
        raise InvalidField(name, "Must be an IANA time zone, such as Europe/Berlin.") from None


KNOWN: dict[str, Known] = {
    "platform_name": Known("SaaS LiteLLM", _text(60), "what the platform is called on its pages"),
    "credit_word": Known("credit", _text(30), "what one credit is called"),
    "reporting_time_zone": Known("UTC", _time_zone, "IANA name: when days and months of platform-wide figures begin"),
    "low_percent": Known(20, _whole(1, 100), "a balance under this share of its last grant is low"),
    "critical_percent": Known(10, _whole(1, 100), "a balance under this share of its last grant is critical"),
    "support_credits_max": Known(
        0, _whole(0, 1_000_000), "the most credits that support may give at a time as refund or goodwill; 0: none"
    ),
    "session_idle_min": Known(
        60,
        _whole(5, 1440),
        "minutes without a request after which a session ends",
        env="SESSION_IDLE_MIN",
        is_security=True,
    ),
    "second_factor_required": Known(
        False, _yes_or_no, "whether operators must have a second factor to use the console", is_security=True
    ),
}

_rows: ShortCache[dict[str, tuple[Any, int]]] = ShortCache(seconds=_KEPT_S, size=1)


def forget_cached() -> None:
    """Forget what this process has read."""
    _rows.clear()


forget_on_change(forget_cached, [Setting])


def _stored() -> dict[str, tuple[Any, int]]:
    return _rows.get(
        "all", lambda: {row.name: (row.value, row.version) for row in Setting.objects.filter(name__in=KNOWN)}
    )


def current(name: str) -> Current:
    """How the setting stands. Raises: KeyError when there is none of that name."""
    known = KNOWN[name]
    value, version = _stored().get(name, (known.default, 0))
    from_environment = getattr(settings, known.env, None) if known.env else None
    if from_environment is not None:
        return Current(name, known.read(name, from_environment), "environment", version, known)
    return Current(name, value, "stored" if version else "default", version, known)


def everything() -> list[Current]:
    """All settings as they stand. At most one query."""
    return [current(name) for name in KNOWN]


def get(name: str) -> Any:
    """The setting's value. Raises: KeyError when there is none of that name."""
    return current(name).value


def put(name: str, value: Any, *, actor: Actor, version: int | None = None) -> Current:
    """Change a setting, with an audit row; nothing when it is so already. `version` is the one that was read.

    Raises: KeyError, InvalidField, SettingOfEnvironment, SettingChanged.
    """
    known = KNOWN[name]
    value = known.read(name, value)
    if current(name).source == "environment":
        raise SettingOfEnvironment(f"{name} is set by the environment's {known.env}. Change it there.")
    try:
        with transaction.atomic():
            _write(name, known, value, actor=actor, version=version)
    except IntegrityError:
        # Two wrote its first row at once.
        raise _changed(name) from None
    forget_cached()
    return current(name)


def _write(name: str, known: Known, value: Any, *, actor: Actor, version: int | None) -> None:
    row = Setting.objects.select_for_update().filter(name=name).first()
    if version is not None and version != (row.version if row else 0):
        raise _changed(name)
    before = row.value if row else known.default
    if before == value:
        return
    audit.record(
        "setting.change", actor=actor, kind="setting", id=name, before={"value": before}, after={"value": value}
    )
    if row is None:
        Setting.objects.create(name=name, value=value)
    else:
        row.value, row.version = value, row.version + 1
        row.save()


def _changed(name: str) -> SettingChanged:
    return SettingChanged(f"{name} was changed meanwhile. Look at its present value and change it again.")


def installation_id() -> str:
    """What tells this installation from others, made on first use. It is no secret, and never changes."""
    row, _ = Setting.objects.get_or_create(name=_INSTALLATION, defaults={"value": str(new_id())})
    return str(row.value)


def lock_installation() -> None:
    """Have whoever else asks for this lock wait until the caller's transaction ends."""
    installation_id()
    Setting.objects.select_for_update().get(name=_INSTALLATION)
