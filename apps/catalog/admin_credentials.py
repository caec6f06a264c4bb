"""Providers' credentials in the admin. A key is typed and never shown again."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from apps.catalog import credentials
from apps.catalog.api_base import require_api_base
from apps.catalog.models import ProviderCredential
from apps.core.admin_base import PlainAdmin, actor_of
from apps.core.admin_columns import text_column
from apps.core.errors import InvalidField


class CredentialForm(forms.ModelForm):  # type: ignore[type-arg]
    """A credential; its key is required once and stays when the field is left empty later."""

    api_key = forms.CharField(
        max_length=credentials.KEY_MAX_LENGTH,
        label="API key",
        # Never rendered with a value, also not after an error.
        widget=forms.PasswordInput(render_value=False, attrs={"class": "vTextField", "autocomplete": "new-password"}),
    )

    class Meta:
        model = ProviderCredential
        fields = ("organization", "provider", "name", "api_base", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "api_key" in self.fields and not self.instance._state.adding:
            self.fields["api_key"].required = False
            self.fields["api_key"].help_text = "empty: stays as it is"

    def clean_api_base(self) -> str:
        try:
            return require_api_base("api_base", self.cleaned_data["api_base"])
        except InvalidField as error:
            raise ValidationError(error.message) from None

    def clean_api_key(self) -> str | None:
        api_key: str = self.cleaned_data["api_key"]
        try:
            return credentials.require_key("api_key", api_key) if api_key else None
        except InvalidField as error:
            raise ValidationError(error.message) from None


@admin.register(ProviderCredential)
class ProviderCredentialAdmin(PlainAdmin):
    """Kept, replaced and forgotten through the service. Whose it is and of which provider does not change."""

    audit_kind = "credential"
    is_deletable = True
    form = CredentialForm
    list_display = (text_column("name"), "organization", "provider", "is_active", "created_at", "updated_at")
    list_filter = ("provider", "is_active", ("created_at", admin.DateFieldListFilter))
    list_select_related = ("organization",)
    search_fields = ("name", "organization__organization_id")
    uuid_search_fields = ("id",)
    hidden_fields = ("encrypted_key",)
    autocomplete_fields = ("organization",)
    ordering = ("-id",)
    fields = ("organization", "provider", "name", "api_base", "api_key", "is_active", "created_at", "updated_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        dates = ("created_at", "updated_at")
        return dates if obj is None else ("organization", "provider", *dates)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("encrypted_key")

    def save_model(self, request: HttpRequest, obj: ProviderCredential, form: Any, change: bool) -> None:
        given = form.cleaned_data
        columns = {name: given[name] for name in ("name", "api_base", "is_active")}
        if change:
            credentials.update(str(obj.pk), columns, api_key=given["api_key"], actor=actor_of(request))
            return
        obj.pk = credentials.create(
            organization=obj.organization,
            provider=obj.provider,
            api_key=given["api_key"],
            actor=actor_of(request),
            **columns,
        ).pk
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: ProviderCredential) -> None:
        credentials.delete(str(obj.pk), actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset:
            self.delete_model(request, row)
