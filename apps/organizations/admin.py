"""Organizations, users, memberships and groups: made and changed with an audit row, never deleted but for places.

Invariant: only a superuser changes operators, groups and rights, so nobody can give themselves more than they have.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from apps.core.admin_base import AuditedAdmin, PageLink, actor_of, is_confirmed, link_to_list
from apps.core.admin_columns import text_column
from apps.core.admin_forms import ObjectField, ReasonForm
from apps.organizations import services
from apps.organizations.models import Membership, Organization, User


class NewOrganization(forms.Form):
    """What an organization starts with."""

    organization_id = forms.CharField(
        max_length=255,
        help_text="the id that API callers use; it cannot be changed and is never reused",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    name = forms.CharField(max_length=255, widget=forms.TextInput(attrs={"class": "vTextField"}))
    metadata = ObjectField(required=False, initial=dict, help_text="a JSON object; empty for none")


@admin.register(Organization)
class OrganizationAdmin(AuditedAdmin):
    """An organization is suspended and resumed, never deleted: its ledger stays."""

    audit_kind = "organization"
    audit_fields = ("name", "metadata", "time_zone")
    list_display = ("organization_id", text_column("name"), "status", text_column("status_reason"), "created_at")
    list_filter = ("status", ("created_at", admin.DateFieldListFilter))
    search_fields = ("organization_id", "name")
    actions = ("suspend", "resume")
    fields = (
        "organization_id",
        "name",
        "status",
        "status_reason",
        "time_zone",
        "metadata",
        "created_at",
        "updated_at",
    )
    readonly_fields = ("organization_id", "status", "status_reason", "created_at", "updated_at")

    def audit_id(self, obj: Organization) -> str:
        return obj.organization_id

    def page_links(self, obj: Organization) -> list[PageLink]:
        return [
            link_to_list("Teams", "teams.team", organization__id__exact=obj.pk),
            link_to_list("Members", "organizations.membership", organization__id__exact=obj.pk),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewOrganization(request.POST or None)

        def act() -> HttpResponse:
            given = form.cleaned_data
            made = services.create(
                organization_id=given["organization_id"],
                name=given["name"],
                metadata=given["metadata"],
                actor=actor_of(request),
            )
            messages.success(request, f"Organization {made.organization_id} was created.")
            return HttpResponseRedirect(self.object_url(made))

        return self.service_form(request, form, title="Add organization", submit="Create organization", act=act)

    @admin.action(description="Suspend selected %(verbose_name_plural)s", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Organization]) -> HttpResponse | None:
        note = "Their teams open no job and start no call until they are resumed."
        return self._set_status(request, queryset, "suspend", Organization.Status.SUSPENDED, note)

    @admin.action(description="Resume selected %(verbose_name_plural)s", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Organization]) -> HttpResponse | None:
        return self._set_status(request, queryset, "resume", Organization.Status.ACTIVE, "Their teams work again.")

    def _set_status(
        self, request: HttpRequest, queryset: QuerySet[Organization], verb: str, status: str, note: str
    ) -> HttpResponse | None:
        form = ReasonForm(request.POST if is_confirmed(request) else None)
        title = f"{verb.capitalize()} organizations"
        page = self.ask(request, queryset, form, action=verb, title=title, note=note)
        if page is not None:
            return page
        for organization in queryset:
            services.set_status(
                organization, status=status, actor=actor_of(request), reason=form.cleaned_data["reason"]
            )
            messages.success(request, f"{organization.organization_id} is {status}.")
        return None


class NewUser(AdminUserCreationForm):
    """A user with a password, known by an e-mail address in lower case."""

    class Meta:
        model = User
        fields = ("email", "display_name", "is_staff")
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
    """Who signs in. A user is made inactive, never deleted: the audit trail names them.

    Without being a superuser one changes users who are no operators, and no rights.
    """

    audit_kind = "user"
    audit_fields = (
        "email",
        "display_name",
        "is_staff",
        "is_superuser",
        "is_active",
        "groups",
        "user_permissions",
    )
    form = ChangedUser
    add_form = NewUser
    list_display = ("email", text_column("display_name"), "is_staff", "is_superuser", "is_active", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("email", "display_name")
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "display_name", "password")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "created_at")}),
    )
    add_fieldsets = (
        (None, {"fields": ("email", "display_name", "is_staff", "usable_password", "password1", "password2")}),
    )
    readonly_fields = ("last_login", "created_at")

    def audit_id(self, obj: User) -> str:
        return obj.email

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and (obj.is_staff or obj.is_superuser) and not _is_superuser(request):
            return False
        return super().has_change_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        rights = () if _is_superuser(request) else ("is_staff", "is_superuser", "groups", "user_permissions")
        return (*self.readonly_fields, *rights)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with transaction.atomic():
            user = self.get_object(request, id)
            before = user.password if user is not None else ""
            response = super().user_change_password(request, id, form_url)
            if user is not None and User.objects.values_list("password", flat=True).get(pk=user.pk) != before:
                self.record(request, "password", user)
        return response


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_active and request.user.is_superuser


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(AuditedAdmin, DjangoGroupAdmin):
    """Rights that operators have together. Superusers alone change them."""

    audit_kind = "group"
    audit_fields = ("name", "permissions")
    search_fields = ("name",)
    is_deletable = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)


@admin.register(Membership)
class MembershipAdmin(AuditedAdmin):
    """A user's place in an organization; the place can be taken away, who and where cannot be changed."""

    audit_kind = "membership"
    audit_fields = ("organization", "user", "role")
    is_deletable = True
    list_display = ("user", "organization", "role", "created_at")
    list_filter = ("role", ("created_at", admin.DateFieldListFilter))
    list_select_related = ("user", "organization")
    search_fields = ("user__email", "organization__organization_id")
    autocomplete_fields = ("user", "organization")
    fields = ("organization", "user", "role", "created_at")
    ordering = ("organization__organization_id", "user__email")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("created_at",) if obj is None else ("organization", "user", "created_at")
