"""Whether new jobs and calls are taken in at all: one switch for the whole platform, for maintenance and emergencies.

Kept in the settings' table. Each process reads it at most twice a second, by primary key, and not for each call.
"""

from dataclasses import dataclass

from django.db import transaction

from apps.core import audit, clock
from apps.core.actors import Actor
from apps.core.errors import Unavailable
from apps.core.models import Setting
from apps.core.short_cache import ShortCache, forget_on_change

NAME = "admission"
_KEPT_S = 0.5
RETRY_AFTER_S = 30


class AdmissionPaused(Unavailable):
    """Raised for a new job or call while an operator has paused them all."""

    code = "admission_paused"
    message = "New jobs and calls are paused for maintenance. Running ones go on. Try again later."


@dataclass(frozen=True, slots=True)
class Switch:
    """How it stands; `version` counts its changes. `since` is ISO 8601."""

    is_paused: bool = False
    reason: str = ""
    by: str = ""
    since: str = ""
    version: int = 0


_kept: ShortCache[Switch] = ShortCache(seconds=_KEPT_S, size=1)


def forget_cached() -> None:
    """Forget what this process has read."""
    _kept.clear()


forget_on_change(forget_cached, [Setting])


def current() -> Switch:
    """At most half a second old."""
    return _kept.get(NAME, stored)


def stored() -> Switch:
    """One query."""
    row = Setting.objects.filter(name=NAME).first()
    return Switch(**row.value, version=row.version) if row else Switch()


def require_open() -> None:
    """Raises: AdmissionPaused."""
    if current().is_paused:
        raise AdmissionPaused(retry_after_s=RETRY_AFTER_S)


@transaction.atomic
def put(*, is_paused: bool, actor: Actor, reason: str) -> Switch:
    """Pause or resume, with an audit row; nothing when it is so already."""
    Setting.objects.get_or_create(name=NAME, defaults={"value": {"is_paused": False}})
    row = Setting.objects.select_for_update().get(name=NAME)
    if row.value["is_paused"] != is_paused:
        audit.record(
            "admission.pause" if is_paused else "admission.resume",
            actor=actor,
            kind="system",
            id=NAME,
            before={"is_paused": not is_paused},
            after={"is_paused": is_paused},
            reason=reason,
        )
        row.value = {"is_paused": is_paused, "reason": reason, "by": str(actor), "since": clock.iso(clock.now())}
        row.version += 1
        row.save()
    forget_cached()
    return Switch(**row.value, version=row.version)
