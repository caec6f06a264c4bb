"""Organizations, users and memberships: made and changed with an audit row, never deleted but for places.

Invariant: only who may change operators changes them and their roles, so nobody can give themselves more.
"""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from apps.core.admin_base import AuditedAdmin, ReadOnlyAdmin
from apps.core.admin_columns import json_column, text_column
from apps.organizations import operators
from apps.organizations.models import OperatorToken, User
from apps.organizations.operators import Change


class NewUser(AdminUserCreationForm):
    """A user with a password, known by an e-mail address in lower case."""

    class Meta:
        model = User
        fields = ("email", "display_name", "role")
        field_classes: dict[str, type[forms.Field]] = {}

    def clean_email(self) -> str:
        return _lowered(self.cleaned_data["email"])


class ChangedUser(UserChangeForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = "__all__"
        field_classes: dict[str, type[forms.Field]] = {}

    def clean_email(self) -> str:
        return _lowered(self.cleaned_data["email"])


def _lowered(email: str) -> str:
    """As `UserManager.create_user` keeps it, so that nobody exists twice."""
    return str(User.objects.normalize_email(email)).lower()


@admin.register(User)
class UserAdmin(AuditedAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    """Who signs in. A user is made inactive, never deleted: the audit trail names them."""

    audit_kind = "user"
    audit_fields = (
        "email",
        "display_name",
        "role",
        "is_active",
    )
    form = ChangedUser
    add_form = NewUser
    list_display = ("email", text_column("display_name"), "role", "is_active", "last_login")
    list_filter = ("role", "is_active")
    filter_horizontal = ()
    search_fields = ("email", "display_name")
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "display_name", "password")}),
        ("Rights", {"fields": ("is_active", "role")}),
        ("Dates", {"fields": ("last_login", "created_at")}),
    )
    add_fieldsets = (
        (None, {"fields": ("email", "display_name", "role", "usable_password", "password1", "password2")}),
    )
    readonly_fields = ("last_login", "created_at")

    def audit_id(self, obj: User) -> str:
        return obj.email

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            wanted = Change(role=obj.role, is_active=obj.is_active)
            operators.require_changeable(obj.pk, wanted, by=cast(User, request.user))
        super().save_model(request, obj, form, change)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with transaction.atomic():
            user = self.get_object(request, id)
            before = user.password if user is not None else ""
            response = super().user_change_password(request, id, form_url)
            if user is not None and User.objects.values_list("password", flat=True).get(pk=user.pk) != before:
                self.record(request, "password", user)
        return response


admin.site.unregister(Group)


@admin.register(OperatorToken)
class OperatorTokenAdmin(ReadOnlyAdmin):
    """Which tokens there are; they are issued and revoked by the API and `manage.py issue_operator_token`."""

    list_display = ("prefix", text_column("name"), "operator", "expires_at", "revoked_at", "last_used_at")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    list_select_related = ("operator",)
    search_fields = ("^prefix", "name", "operator__email")
    fields = (
        "id",
        "operator",
        "name",
        "prefix",
        json_column("scopes"),
        "expires_at",
        "revoked_at",
        "last_used_at",
        "last_used_address",
        "created_at",
        "created_by",
    )
    ordering = ("-created_at",)
