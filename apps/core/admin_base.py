"""What the plain admin pages share: read-only rows, and changes that leave an audit row.

Invariant: nothing is deleted unless an admin says so, and every write goes through a service or is committed
together with its audit row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from unfold.admin import ModelAdmin as UnfoldModelAdmin

from apps.core import audit, clock
from apps.core.actors import Actor
from apps.core.addresses import client_address
from apps.core.admin_forms import ObjectField
from apps.core.errors import DomainError, InvalidField
from apps.core.ids import parse_uuid

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = UnfoldModelAdmin

_ACTOR_LENGTH = 240


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in operator, for the ledger and the audit trail."""
    address = client_address(request.META)
    # Cut so that "operator:" before it still fits the ledger's 255 characters.
    return Actor("operator", request.user.get_username()[:_ACTOR_LENGTH], address)


def show_refusal(form: forms.BaseForm, error: DomainError) -> None:
    """Put a service's refusal on the form, at its field when the form has that field."""
    field = str(error.errors[0]["loc"][-1]) if isinstance(error, InvalidField) else None
    form.add_error(field if field in form.fields else None, error.message)


@dataclass(frozen=True, slots=True)
class PageLink:
    """A button on an object's page, for those who have `permission`."""

    label: str
    url: str
    permission: str


def link_to_list(label: str, model: str, **query: Any) -> PageLink:
    """A button to another model's list, filtered; `model` is a name such as teams.team."""
    app, name = model.split(".")
    return PageLink(label, f"{reverse(f'admin:{app}_{name}_changelist')}?{urlencode(query)}", f"{app}.view_{name}")


def seen_of(obj: Any) -> str:
    """What a form carries of the row that it was opened for; empty for rows that do not tell when they changed."""
    return clock.iso(getattr(obj, "updated_at", None)) or ""


class SeenForm:
    """For forms of rows that several may edit: whoever saves second is shown what the first one saved, by field.

    Saving again puts one's own in its place. A form without a token saw nothing, and is judged as it is.
    """

    def clean(self) -> Any:
        given = super().clean()  # type: ignore[misc]
        form: Any = self
        seen = form.data.get("_seen", "")
        if not seen or seen == seen_of(form.instance):
            return given
        # The instance was read now, so that what differs from it is what one would overwrite.
        for name in form.changed_data:
            if name in form.cleaned_data and not isinstance(form.fields[name].widget, forms.PasswordInput):
                theirs = getattr(form.instance, name, form.initial.get(name))
                shown = "empty" if theirs in (None, "") else str(theirs)[:200]
                form.add_error(name, f"Changed meanwhile: now it is {shown}. Save again to put yours in its place.")
        return given


class PlainAdmin(_ModelAdmin):
    """Any of our models. No delete unless `is_deletable`; related rows open by link, not by pop-up.

    `uuid_search_fields` are searched too when the whole search term is a UUID. `audit_kind` makes the History button
    lead to the object's audit rows. A list cannot be filtered by `hidden_fields`: what is not shown is not guessed.
    """

    list_per_page = 50
    show_full_result_count = False
    change_form_template = "admin/plain_change_form.html"
    formfield_overrides = {models.JSONField: {"form_class": ObjectField}}
    uuid_search_fields: Sequence[str] = ()
    hidden_fields: Sequence[str] = ()
    is_deletable = False
    audit_kind = ""

    def audit_id(self, obj: Any) -> str:
        """The object's id in audit rows."""
        return str(obj.pk)

    def page_links(self, obj: Any) -> Iterable["PageLink"]:
        """What belongs to the object, as buttons on its page. Those that the user may not follow are left out."""
        return ()

    def list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.is_deletable and super().has_delete_permission(request, obj)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        if lookup.split("__")[0] in self.hidden_fields:
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Django's own; a row that another changed since the form was opened is not written over unseen."""
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is None or not hasattr(obj, "updated_at"):
            return form
        return type(form.__name__, (SeenForm, form), {})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        term = search_term.strip()
        asked_id = parse_uuid(term) if len(term) in (32, 36) else None
        if asked_id is not None and self.uuid_search_fields:
            matches = Q()
            for field in self.uuid_search_fields:
                matches |= Q(**{field: asked_id})
            found |= queryset.filter(matches)
        return found, may_repeat

    def formfield_for_dbfield(self, db_field: "models.Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget.can_add_related = field.widget.can_change_related = False
            field.widget.can_delete_related = field.widget.can_view_related = False
        return field

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        obj = kwargs.get("obj")
        if obj is not None:
            context["page_links"] = [link for link in self.page_links(obj) if request.user.has_perm(link.permission)]
            context["seen"] = seen_of(type(obj)._default_manager.filter(pk=obj.pk).first())
        return super().render_change_form(request, context, *args, **kwargs)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Django's own, where a service's refusal is a message: nothing of the form was written then."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except DomainError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(request.get_full_path())

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may_read = bool(self.audit_kind) and request.user.has_perm("core.view_auditentry")
        obj = self.get_object(request, object_id) if may_read else None
        if obj is None:
            return super().history_view(request, object_id, extra_context)
        query = urlencode({"object_kind": self.audit_kind, "object_id": self.audit_id(obj)})
        return HttpResponseRedirect(f"{reverse('admin:core_auditentry_changelist')}?{query}")


class ReadOnlyAdmin(PlainAdmin):
    """Rows that services alone write: lists and pages, every POST refused. Name the page's `fields`."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return flatten_fieldsets(self.get_fieldsets(request, obj))


class AuditedAdmin(PlainAdmin):
    """Rows without a service: a change writes its audit row in the same transaction, and only changed columns.

    `audit_fields` are what the audit row shows, never a secret. `derived_fields` are columns that the form sets
    besides those it has fields for.
    """

    audit_fields: Sequence[str] = ()
    derived_fields: Sequence[str] = ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        form.audit_before = None
        if not change:
            super().save_model(request, obj, form, change)
            return
        stored = type(obj)._default_manager.select_for_update().get(pk=obj.pk)
        form.audit_before = self.snapshot(stored)
        editable = {*form.cleaned_data, *self.derived_fields}
        fields = obj._meta.concrete_fields
        changed = [
            field.name
            for field in fields
            if field.name in editable and getattr(obj, field.attname) != getattr(stored, field.attname)
        ]
        if changed:
            # A column that the form does not show may have been changed meanwhile: it is not written back.
            changed += [field.name for field in fields if getattr(field, "auto_now", False)]
            obj.save(update_fields=changed)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        before = form.audit_before
        after = self.snapshot(form.instance)
        if before is not None:
            fields = [field for field in after if after[field] != before[field]]
            before = {field: before[field] for field in fields}
            after = {field: after[field] for field in fields}
        if after:
            self.record(request, "update" if change else "create", form.instance, before=before, after=after)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            self.record(request, "delete", obj, before=self.snapshot(obj))
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            self.delete_model(request, obj)

    def record(
        self,
        request: HttpRequest,
        verb: str,
        obj: Any,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        audit.record(
            f"{self.audit_kind}.{verb}",
            actor=actor_of(request),
            kind=self.audit_kind,
            id=self.audit_id(obj),
            before=before,
            after=after,
        )

    def snapshot(self, obj: Any) -> dict[str, Any]:
        """The audited fields as JSON can hold them."""
        return {name: _plain(obj, name) for name in self.audit_fields}


def _plain(obj: Any, name: str) -> Any:
    field = obj._meta.get_field(name)
    value = getattr(obj, name)
    if field.many_to_many:
        return sorted(str(row) for row in value.all())
    if field.is_relation:
        return None if value is None else str(value)
    if isinstance(field, models.DateTimeField):
        return clock.iso(value)
    return value
