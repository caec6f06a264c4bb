"""What the bare pages show of the platform."""

from django import template

from apps.core import settings_store

register = template.Library()


@register.simple_tag
def platform_name() -> str:
    return str(settings_store.get("platform_name"))
