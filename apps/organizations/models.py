"""Organizations (an operator's customers), users and memberships."""

from collections.abc import Iterable
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now

from apps.core.ids import new_id
from apps.organizations import rights


def validate_time_zone(name: str) -> None:
    """Raises: ValidationError unless it is a name of the IANA time zone database."""
    try:
        # Of a relative path alone: anything else is refused by ZoneInfo, as is what is no zone.
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValidationError("Must be an IANA time zone, such as Europe/Berlin.") from error


class Organization(models.Model):
    """A customer of the operator. Its `organization_id` is chosen by the caller and never reused."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    organization_id = models.CharField(max_length=255, unique=True, help_text="the id that API callers use")
    name = models.CharField(max_length=255)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE, db_default=Status.ACTIVE)
    status_reason = models.CharField(max_length=500, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        db_default="UTC",
        validators=[validate_time_zone],
        help_text="IANA name: when its days, weeks and months begin",
    )
    display_currency = models.CharField(
        max_length=3, default="USD", db_default="USD", help_text="ISO 4217; in which it is shown its costs too"
    )
    stores_content = models.BooleanField(
        default=False, db_default=False, help_text="whether operators may see what its calls asked and answered"
    )
    content_retention_h = models.PositiveIntegerField(
        null=True, blank=True, help_text="hours that content is kept after a call; none: PAYLOAD_RETENTION_H"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["organization_id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(status__in=["active", "suspended"]), name="organization_status")
        ]

    def __str__(self) -> str:
        return self.organization_id


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> "User":
        """Who signs in as `username`: e-mails are kept in lower case, and typed in any."""
        return super().get_by_natural_key((username or "").lower())

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """An owner, by the name that `manage.py createsuperuser` calls it by."""
        return self.create_user(email, password, **{"role": rights.Role.OWNER.value} | fields)


class User(AbstractBaseUser):
    """Somebody who signs in: an operator by `role`, a member of organizations by memberships. Known by e-mail.

    What an operator may do is said by `rights` alone; Django's permissions are answered from it.
    """

    class Role(models.TextChoices):
        OWNER = rights.Role.OWNER.value
        ADMIN = rights.Role.ADMIN.value
        BILLING = rights.Role.BILLING.value
        SUPPORT = rights.Role.SUPPORT.value
        VIEWER = rights.Role.VIEWER.value

    public_id = models.UUIDField(unique=True, default=new_id, editable=False, help_text="the id that API callers use")
    email = models.EmailField(unique=True)
    display_name = models.CharField(max_length=255, blank=True)
    role = models.CharField(
        max_length=16,
        choices=Role,
        blank=True,
        default="",
        db_default="",
        help_text="what this operator may do in the console and the API; empty: no operator",
    )
    time_zone = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        validators=[validate_time_zone],
        help_text="IANA name: in which the console shows instants; empty: the browser's",
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering = ["email"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role__in=["", "owner", "admin", "billing", "support", "viewer"]), name="user_role"
            )
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_staff(self) -> bool:
        """Whether they are an operator."""
        return bool(self.role)

    @property
    def is_superuser(self) -> bool:
        return self.role == rights.Role.OWNER

    def holds(self, right: rights.Right, *, within: bool = False) -> bool:
        """Whether this operator may do what is asked; `within` as in `rights.holds`."""
        return self.is_active and rights.holds(self.role, right, within=within)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Django's permissions, as its admin asks for them."""
        right = rights.of_permission(perm)
        return right is not None and self.holds(right)

    def has_perms(self, perm_list: Iterable[str], obj: Any = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        return self.holds(rights.Right.VIEW)


class Membership(models.Model):
    """A user's place in an organization."""

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        BILLING = "billing"
        SUPPORT = "support"
        VIEWER = "viewer"

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.organization}"


class OperatorToken(models.Model):
    """A bearer secret with which an operator's scripts use the API. Only its keyed hash is kept.

    It can do what its operator's role can, narrowed by its scopes, and dies with its operator.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    operator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="tokens")
    name = models.CharField(max_length=255)
    prefix = models.CharField(max_length=16, help_text="its first characters, to recognise it by")
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="HMAC-SHA256 of the token")
    scopes = models.JSONField(default=list, blank=True, help_text="rights; empty means all of the operator's role")
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="to the minute")
    last_used_address = models.CharField(max_length=64, blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["operator", "-created_at"], name="operator_token_of")]

    def __str__(self) -> str:
        return f"{self.prefix}…"
