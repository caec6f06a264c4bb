"""What people change about themselves."""

from django.db import transaction

from apps.core import audit
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.organizations.models import User
from apps.organizations.services import require_time_zone

NAME_MAX_LENGTH = 255


def change(user: User, *, display_name: str, time_zone: str, actor: Actor) -> User:
    """Their name and the zone in which they are shown instants (empty: the browser's). Raises: InvalidField."""
    if time_zone:
        require_time_zone(time_zone)
    if len(display_name) > NAME_MAX_LENGTH:
        raise InvalidField("display_name", f"Must have at most {NAME_MAX_LENGTH} characters.")
    with transaction.atomic():
        locked = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        before = {"display_name": locked.display_name, "time_zone": locked.time_zone}
        after = {"display_name": display_name, "time_zone": time_zone}
        if before != after:
            audit.record("user.profile", actor=actor, kind="user", id=locked.email, before=before, after=after)
            locked.display_name, locked.time_zone = display_name, time_zone
            locked.save(update_fields=["display_name", "time_zone"])
    return locked
