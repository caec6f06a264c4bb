"""Virtual keys: issue, rotate, revoke. A secret is shown in the answer to the click that made it and nowhere else;
the digest is never shown."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from apps.catalog.models import ModelAlias, ModelGroup
from apps.core import clock, idempotency
from apps.core.admin_base import PageLink, ReadOnlyAdmin, actor_of, is_confirmed, link_to_list
from apps.core.admin_columns import text_column
from apps.core.admin_forms import Autocomplete, OnceForm, WordsField
from apps.core.errors import DomainError
from apps.teams.models import Team
from apps.virtual_keys import services
from apps.virtual_keys.models import VirtualKey


class NewKey(OnceForm):
    """What a key may do."""

    team = forms.ModelChoiceField(
        queryset=Team.objects.exclude(status=Team.Status.CLOSED),
        widget=Autocomplete(VirtualKey._meta.get_field("team"), admin.site),
    )
    name = forms.CharField(
        max_length=255,
        required=False,
        help_text="to tell keys apart, e.g. production",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in services.SCOPES],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="none chosen: all",
    )
    models_allowed = forms.ModelMultipleChoiceField(
        queryset=ModelAlias.objects.all(),
        required=False,
        label="Models",
        help_text="aliases the key may use; none chosen, and no group: whatever its team may use",
    )
    groups_allowed = forms.ModelMultipleChoiceField(
        queryset=ModelGroup.objects.all(),
        required=False,
        label="Model groups",
        help_text="model groups the key may ask for",
    )
    addresses_allowed = WordsField(
        required=False,
        label="Addresses",
        help_text="networks it may come from, one a line, e.g. 203.0.113.0/24; empty: any",
    )
    expires_at = forms.SplitDateTimeField(required=False, widget=AdminSplitDateTime, help_text="empty: never")

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= clock.now():
            raise ValidationError("This is in the past.")
        return expires_at


class RotateForm(forms.Form):
    """How long the old keys work beside the new ones."""

    overlap_h = forms.IntegerField(
        min_value=0, max_value=24 * 90, initial=24, label="Overlap", help_text="hours that the old key still works"
    )


class StateFilter(admin.SimpleListFilter):
    """Whether a key works now."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("usable", "usable"), ("expired", "expired"), ("revoked", "revoked"), ("rotated", "rotated")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[VirtualKey]) -> QuerySet[VirtualKey]:
        alive = Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=Now()))
        conditions = {
            "usable": alive,
            "expired": Q(revoked_at__isnull=True, expires_at__lte=Now()),
            "revoked": Q(revoked_at__isnull=False),
            "rotated": Q(replaced_by__isnull=False),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(VirtualKey)
class VirtualKeyAdmin(ReadOnlyAdmin):
    """Adding issues a key, actions rotate and revoke; nothing else of a key changes."""

    audit_kind = "key"
    list_display = (
        "shown_prefix",
        text_column("name"),
        "team",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
    )
    list_filter = (StateFilter, ("created_at", admin.DateFieldListFilter))
    list_select_related = ("team",)
    search_fields = ("^prefix", "name", "team__team_id")
    search_help_text = "the key's first characters, name, team id or the key's id"
    uuid_search_fields = ("id",)
    hidden_fields = ("digest",)
    actions = ("rotate", "revoke")
    fields = (
        "id",
        "team",
        "name",
        "shown_prefix",
        "state",
        "scopes_shown",
        "models_shown",
        "addresses_shown",
        "created_at",
        "created_by",
        "expires_at",
        "revoked_at",
        "replaced_by",
        "last_used_at",
    )

    @admin.display(description="key", ordering="prefix")
    def shown_prefix(self, key: VirtualKey) -> str:
        return f"{key.prefix}…"

    @admin.display(description="scopes")
    def scopes_shown(self, key: VirtualKey) -> str:
        return ", ".join(key.scopes) or "all"

    @admin.display(description="models")
    def models_shown(self, key: VirtualKey) -> str:
        return ", ".join(key.models_allowed) or "all that its team may use"

    @admin.display(description="addresses")
    def addresses_shown(self, key: VirtualKey) -> str:
        return ", ".join(key.addresses_allowed) or "any"

    @admin.display(description="state")
    def state(self, key: VirtualKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        if key.expires_at is not None and key.expires_at <= clock.now():
            return "expired"
        return "rotated, still works" if key.replaced_by_id else "usable"

    def page_links(self, obj: VirtualKey) -> list[PageLink]:
        return [link_to_list("Jobs of its team", "jobs.job", team=obj.team.team_id)]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("virtual_keys.add_virtualkey")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("virtual_keys.change_virtualkey")

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        """Rotation hands out a new secret, so it needs the right to issue too."""
        return self.has_revoke_permission(request) and self.has_add_permission(request)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewKey(request.POST or None, initial={"team": request.GET.get("team")})

        def act() -> HttpResponse:
            given = form.cleaned_data
            with transaction.atomic():
                slot = idempotency.claim(form.as_request("key"))
                if slot.is_replay:
                    messages.warning(
                        request,
                        "This form was submitted before: its key exists and its secret was shown then. Nothing new"
                        " was issued.",
                    )
                    return HttpResponseRedirect(self.list_url())
                key, secret = services.issue(
                    given["team"],
                    actor=actor_of(request),
                    name=given["name"],
                    scopes=given["scopes"],
                    models_allowed=[each.name for each in (*given["models_allowed"], *given["groups_allowed"])],
                    addresses_allowed=given["addresses_allowed"],
                    expires_at=given["expires_at"],
                )
                slot.record({"key_id": str(key.pk)})
            label = f"Key of {key.team.team_id}"
            return self.secrets_page(request, [(label, secret)], title="Key issued", back_url=self.object_url(key))

        return self.service_form(request, form, title="Issue a key", submit="Issue key", act=act)

    @admin.action(description="Rotate selected %(verbose_name_plural)s", permissions=["rotate"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[VirtualKey]) -> HttpResponse | None:
        form = RotateForm(request.POST if is_confirmed(request) else None)
        queryset = queryset.select_related("team")
        note = "Each is replaced by a new key with the same rights. The new secrets are shown once, on the next page."
        page = self.ask(request, queryset, form, action="rotate", title="Rotate keys", note=note)
        if page is not None:
            return page
        secrets = []
        for old in queryset:
            try:
                new, secret = services.rotate(
                    old, actor=actor_of(request), overlap_s=form.cleaned_data["overlap_h"] * 3600
                )
            except DomainError as error:
                messages.error(request, f"{old}: {error.message}")
            else:
                secrets.append((f"New key of {new.team.team_id} for {old}", secret))
        if not secrets:
            return None
        return self.secrets_page(request, secrets, title="Keys rotated", back_url=self.list_url())

    @admin.action(description="Revoke selected %(verbose_name_plural)s", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[VirtualKey]) -> HttpResponse | None:
        form = forms.Form(request.POST if is_confirmed(request) else None)
        queryset = queryset.select_related("team")
        note = "They stop working within a second, for good."
        page = self.ask(request, queryset, form, action="revoke", title="Revoke keys", note=note)
        if page is not None:
            return page
        for key in queryset:
            services.revoke(key, actor=actor_of(request))
            messages.success(request, f"{key} of {key.team.team_id} is revoked.")
        return None
