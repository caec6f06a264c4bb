"""Access groups and model groups with their members. Every change goes through the services that the API calls."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from apps.catalog import access_groups, model_groups
from apps.catalog.models import AccessGroup, AccessGroupMember, ModelGroup, ModelGroupMember
from apps.core.admin_base import PageLink, PlainAdmin, actor_of, link_to_list
from apps.core.admin_columns import text_column
from apps.core.errors import DomainError


class _ServedAdmin(PlainAdmin):
    """Rows that a service deletes, or refuses to."""

    is_deletable = True

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except DomainError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(self.list_url())

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset:
            self.delete_model(request, row)


class _GroupAdmin(_ServedAdmin):
    """A group is deleted once no team uses it. Its name stays: teams and calls know it by that."""

    list_display = (text_column("name"), text_column("display_name"), "status", "created_at")
    list_filter = ("status", ("created_at", admin.DateFieldListFilter))
    search_fields = ("name", "display_name")
    ordering = ("name",)
    fields = ("name", "display_name", "description", "status", "created_at", "updated_at")

    def audit_id(self, obj: Any) -> str:
        return str(obj.name)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("created_at", "updated_at") if obj is None else ("name", "created_at", "updated_at")


@admin.register(AccessGroup)
class AccessGroupAdmin(_GroupAdmin):
    audit_kind = "access_group"

    def page_links(self, obj: AccessGroup) -> list[PageLink]:
        return [
            link_to_list("Aliases", "catalog.accessgroupmember", access_group__id__exact=obj.pk),
            link_to_list("Teams", "catalog.teamaccessgroup", access_group__id__exact=obj.pk),
        ]

    def save_model(self, request: HttpRequest, obj: AccessGroup, form: Any, change: bool) -> None:
        if not change:
            obj.pk = access_groups.create(obj.name, actor=actor_of(request)).pk
        access_groups.update(
            obj.name,
            actor=actor_of(request),
            display_name=obj.display_name,
            description=obj.description,
            status=obj.status,
        )
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: AccessGroup) -> None:
        access_groups.delete(obj.name, actor=actor_of(request))


@admin.register(ModelGroup)
class ModelGroupAdmin(_GroupAdmin):
    audit_kind = "model_group"

    def page_links(self, obj: ModelGroup) -> list[PageLink]:
        return [
            link_to_list("Models", "catalog.modelgroupmember", group__id__exact=obj.pk),
            link_to_list("Teams", "catalog.teammodelgroup", model_group__id__exact=obj.pk),
        ]

    def save_model(self, request: HttpRequest, obj: ModelGroup, form: Any, change: bool) -> None:
        if not change:
            obj.pk = model_groups.create(obj.name, actor=actor_of(request)).pk
        model_groups.update(
            obj.name,
            actor=actor_of(request),
            display_name=obj.display_name,
            description=obj.description,
            status=obj.status,
        )
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: ModelGroup) -> None:
        model_groups.delete(obj.name, actor=actor_of(request))


@admin.register(AccessGroupMember)
class AccessGroupMemberAdmin(_ServedAdmin):
    """Aliases are put into a group and taken out of it."""

    list_display = ("access_group", "alias", "created_at")
    list_select_related = ("access_group", "alias")
    search_fields = ("access_group__name", "alias__name")
    autocomplete_fields = ("access_group", "alias")
    ordering = ("access_group__name", "id")
    fields = ("access_group", "alias", "created_at")
    readonly_fields = ("created_at",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: AccessGroupMember, form: Any, change: bool) -> None:
        access_groups.update(obj.access_group.name, actor=actor_of(request), add=[obj.alias.name])
        obj.pk = AccessGroupMember.objects.get(access_group=obj.access_group, alias=obj.alias).pk
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: AccessGroupMember) -> None:
        access_groups.update(obj.access_group.name, actor=actor_of(request), remove=[obj.alias.name])


@admin.register(ModelGroupMember)
class ModelGroupMemberAdmin(_ServedAdmin):
    """A model of a group: what it is stays, its place and whether it is used change."""

    list_display = ("group", "priority", "alias", text_column("provider_model"), "is_active")
    list_filter = ("is_active",)
    list_select_related = ("group", "alias")
    search_fields = ("group__name", "alias__name", "provider_model")
    autocomplete_fields = ("group", "alias")
    ordering = ("group__name", "priority", "id")
    fields = ("group", "alias", "provider_model", "route", "provider", "priority", "is_active", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("created_at",) if obj is None else ("group", "alias", "provider_model", "created_at")

    def save_model(self, request: HttpRequest, obj: ModelGroupMember, form: Any, change: bool) -> None:
        member = model_groups.Member(obj.model_name, obj.priority, obj.is_active, obj.route, obj.provider)
        group = model_groups.update(obj.group.name, actor=actor_of(request), put=[member])
        obj.pk = next(each.pk for each in group.members.all() if each.model_name == obj.model_name)
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: ModelGroupMember) -> None:
        model_groups.update(obj.group.name, actor=actor_of(request), remove=[obj.model_name])
