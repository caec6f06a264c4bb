"""Issue, authenticate, rotate and revoke virtual keys.

A key's secret leaves `issue` and `rotate` once and is kept nowhere. A revoked key is refused within a second
by every process: authentication is cached for half a second at most.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Least, Now

from apps.core import audit, clock, crypto
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.ids import parse_uuid
from apps.core.prepared import Select, param
from apps.core.short_cache import ShortCache
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys import secrets
from apps.virtual_keys.errors import AddressNotAllowed, InvalidKey, KeyNotFound, KeyNotUsable, ScopeMissing
from apps.virtual_keys.models import VirtualKey

SCOPES = ("jobs", "chat", "read")
CACHE_S = 0.5
_USED_EVERY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who presented a key: the key, its team and organization as they were at most half a second ago."""

    key_id: str
    team: Team
    organization: Organization
    scopes: tuple[str, ...]
    models_allowed: tuple[str, ...]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    @property
    def status(self) -> str:
        """The team's status, or the organization's when that blocks its teams."""
        return self.team.status if self.organization.status == "active" else self.organization.status

    def require_scope(self, *any_of: str) -> None:
        """Raises: ScopeMissing unless the key has one of these scopes (or all, which is no list)."""
        if self.scopes and not set(self.scopes) & set(any_of):
            raise ScopeMissing(
                f"This API key lacks the scope '{' or '.join(any_of)}'. It has: {', '.join(self.scopes)}."
            )

    def require_address(self, address: str) -> None:
        """Raises: AddressNotAllowed when the key is bound to networks and `address` is in none."""
        if not self.networks:
            return
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise AddressNotAllowed from None
        # A server that listens on both families shows an IPv4 peer as an IPv6 one.
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        if not any(parsed in network for network in self.networks):
            raise AddressNotAllowed


# Keyed by the digest of the whole key, so no two keys share an entry whatever they have in common.
_cache: ShortCache[Principal] = ShortCache(seconds=CACHE_S)


def authenticate(secret: str, *, address: str = "") -> Principal:
    """The principal behind a presented key.

    Raises: InvalidKey for malformed (no query), unknown, revoked and expired keys alike; AddressNotAllowed.
    """
    if not secrets.is_well_formed(secret):
        raise InvalidKey
    digest = crypto.keyed_hash(secret)
    principal = _cache.get(digest, lambda: _load(digest))
    principal.require_address(address)
    return principal


def forget_cached() -> None:
    """Empty this process's cache: after a revocation here, and between tests."""
    _cache.clear()


_USABLE: Select[VirtualKey] = Select(
    lambda: VirtualKey.objects.select_related("team__organization").filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=Now()),
        digest=param("digest", VirtualKey),
        revoked_at__isnull=True,
    )
)


def _load(digest: str) -> Principal:
    key = _USABLE.first(digest=digest)
    if key is None:
        raise InvalidKey
    if key.last_used_at is None or clock.now() - key.last_used_at > _USED_EVERY:
        VirtualKey.objects.filter(pk=key.pk).update(last_used_at=Now())
    return Principal(
        key_id=str(key.pk),
        team=key.team,
        organization=key.team.organization,
        scopes=tuple(key.scopes),
        models_allowed=tuple(key.models_allowed),
        networks=tuple(ipaddress.ip_network(network, strict=False) for network in key.addresses_allowed),
    )


def issue(
    team: Team,
    *,
    actor: Actor,
    name: str = "",
    scopes: list[str] | None = None,
    models_allowed: list[str] | None = None,
    addresses_allowed: list[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[VirtualKey, str]:
    """Make a key for a team. Returns the row and the secret, which is kept nowhere.

    Raises: InvalidField for an unknown scope or a network that is none.
    """
    unknown = [scope for scope in scopes or [] if scope not in SCOPES]
    if unknown:
        raise InvalidField("scopes", f"Unknown scope '{unknown[0]}'. Scopes are: {', '.join(SCOPES)}.", value=scopes)
    for network in addresses_allowed or []:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise InvalidField(
                "addresses_allowed",
                f"'{network}' is no IP address or network, e.g. 203.0.113.0/24.",
                value=network,
            ) from None
    secret = secrets.generate()
    with transaction.atomic():
        key = VirtualKey.objects.create(
            team=team,
            name=name,
            prefix=secret[: secrets.SHOWN_LENGTH],
            digest=crypto.keyed_hash(secret),
            scopes=scopes or [],
            models_allowed=models_allowed or [],
            addresses_allowed=addresses_allowed or [],
            expires_at=expires_at,
            created_by=str(actor)[:255],
        )
        _audit("key.issue", key, actor, after=_described(key))
    return key, secret


def has_usable_key(team: Team) -> bool:
    """Whether the team has a key that is neither revoked nor expired."""
    unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
    return VirtualKey.objects.filter(unexpired, team=team, revoked_at__isnull=True).exists()


def find(team: Team, key_id: str) -> VirtualKey:
    """A key of the team. Raises: KeyNotFound."""
    parsed = parse_uuid(key_id)
    key = VirtualKey.objects.filter(team=team, pk=parsed).first() if parsed else None
    if key is None:
        raise KeyNotFound(f"Team '{team.team_id}' has no key '{key_id}'")
    return key


def matching(
    team: Team | None = None,
    *,
    organization: Organization | None = None,
    state: str | None = None,
    prefix: str | None = None,
    expires_before: datetime | None = None,
    unused_since: datetime | None = None,
) -> QuerySet[VirtualKey]:
    """Keys with their team, newest first, narrowed by what is given; revoked and expired ones too.

    `state` is active, expired or revoked; `expires_before` asks for those that are active until then and no longer,
    `unused_since` for those that nobody used since, or ever.
    """
    keys = VirtualKey.objects.select_related("team").order_by("-created_at", "-id")
    if team is not None:
        keys = keys.filter(team=team)
    if organization is not None:
        keys = keys.filter(team__organization=organization)
    if prefix is not None:
        keys = keys.filter(prefix__startswith=prefix[:_PREFIX_MAX])
    if expires_before is not None:
        keys = keys.filter(_STATES["active"](), expires_at__lt=expires_before)
    if unused_since is not None:
        keys = keys.filter(
            Q(last_used_at__isnull=True) | Q(last_used_at__lt=unused_since), created_at__lt=unused_since
        )
    return keys if state is None else keys.filter(_STATES[state]())


_PREFIX_MAX = 16
_STATES: dict[str, Callable[[], Q]] = {
    "active": lambda: Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=Now())),
    "expired": lambda: Q(revoked_at__isnull=True, expires_at__lte=Now()),
    "revoked": lambda: Q(revoked_at__isnull=False),
}
STATES = tuple(_STATES)


def prefixes(teams: list[Team]) -> dict[int, str | None]:
    """The first characters of each team's newest usable key, by the team's primary key. One query."""
    usable = (
        VirtualKey.objects.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()), revoked_at__isnull=True)
        .filter(team=OuterRef("pk"))
        .order_by("-created_at", "-id")
    )
    found = Team.objects.filter(pk__in=[team.pk for team in teams]).values_list(
        "pk", Subquery(usable.values("prefix")[:1])
    )
    return dict(found)


def find_any(key_id: str) -> VirtualKey:
    """A key of any team, with its team and organization, for operators. Raises: KeyNotFound."""
    parsed = parse_uuid(key_id)
    key = VirtualKey.objects.select_related("team__organization").filter(pk=parsed).first() if parsed else None
    if key is None:
        raise KeyNotFound(f"There is no key '{key_id[:100]}'")
    return key


def rotate(key: VirtualKey, *, actor: Actor, overlap_s: int, reason: str = "") -> tuple[VirtualKey, str]:
    """Replace a key by a new one with the same rights; the old one works for `overlap_s` more seconds.

    Raises: KeyNotUsable when the key is revoked, expired or was rotated before.
    """
    with transaction.atomic():
        old = VirtualKey.objects.select_for_update().select_related("team").get(pk=key.pk)
        expired = VirtualKey.objects.filter(pk=old.pk, expires_at__lte=Now()).exists()
        if old.revoked_at is not None or expired or old.replaced_by_id is not None:
            state = "revoked" if old.revoked_at else "expired" if expired else "already rotated"
            raise KeyNotUsable(f"This key is {state}. Issue a new key instead.")
        new, secret = issue(
            old.team,
            actor=actor,
            name=old.name,
            scopes=old.scopes,
            models_allowed=old.models_allowed,
            addresses_allowed=old.addresses_allowed,
            expires_at=old.expires_at,
        )
        ends = clock.from_now(overlap_s)
        VirtualKey.objects.filter(pk=old.pk).update(
            replaced_by=new, expires_at=Least(F("expires_at"), ends) if old.expires_at else ends
        )
        _audit("key.rotate", old, actor, after={"replaced_by": str(new.pk), "overlap_s": overlap_s}, reason=reason)
    forget_cached()
    return new, secret


def revoke(key: VirtualKey, *, actor: Actor, reason: str = "") -> VirtualKey:
    """End a key now. A repeat changes nothing."""
    with transaction.atomic():
        if VirtualKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=Now()):
            _audit("key.revoke", key, actor, before={"revoked": False}, after={"revoked": True}, reason=reason)
    forget_cached()
    key.refresh_from_db()
    return key


def _described(key: VirtualKey) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scopes": key.scopes,
        "models_allowed": key.models_allowed,
        "addresses_allowed": key.addresses_allowed,
        "expires_at": clock.iso(key.expires_at),
    }


def _audit(
    action: str,
    key: VirtualKey,
    actor: Actor,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
    reason: str = "",
) -> None:
    audit.record(
        action,
        actor=actor,
        kind="key",
        id=str(key.pk),
        before=before,
        after={"team_id": key.team.team_id, **(after or {})},
        reason=reason,
    )
