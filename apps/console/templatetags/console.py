"""Template tags of the console: `{% load console %}`. Each writes one kind of thing in one way everywhere."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django import template
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString, mark_safe

from apps.console import formats
from apps.console.charts import Chart
from apps.core import clock

register = template.Library()

register.filter("count", formats.count)
register.filter("credits", formats.credits)
register.filter("credits_in_words", formats.credits_in_words)
register.filter("usd", formats.usd)
register.filter("usd_sum", formats.usd_sum)
register.filter("duration", formats.duration)
register.filter("ago", formats.ago)

# The look of a state: what it means for the reader, never colour alone, since the word stands beside it.
_LOOKS = {
    "good": {"active", "completed", "succeeded", "charged", "in force", "usable", "ok", "accepted", "passed"},
    "busy": {"in_progress", "running", "pending", "queued", "open", "scheduled", "draft", "fair"},
    "look": {"paused", "low", "rotating", "expiring", "warning", "deprecated"},
    "bad": {"failed", "suspended", "refused", "critical", "revoked", "error", "disputed", "uncollected"},
}
_ICONS = {"good": "check_circle", "busy": "pending", "look": "warning", "bad": "error", "over": "circle"}
_LOOK_OF = {word: look for look, words in _LOOKS.items() for word in words}


@register.simple_tag
def state(word: str, label: str = "") -> SafeString:
    """A state as icon and word."""
    look = _LOOK_OF.get(word, "over")
    return format_html(
        '<span class="c-state c-state-{}">{}{}</span>', look, icon(_ICONS[look]), label or word.replace("_", " ")
    )


@register.simple_tag
def when(instant: datetime | None, unknown: str = formats.UNKNOWN) -> SafeString:
    """An instant: how long ago, and the time in the viewer's zone; in full on hover and focus."""
    if instant is None:
        return format_html("{}", unknown)
    return format_html(
        '<time datetime="{}" title="{}" tabindex="0">{} <span class="c-quiet">'
        '<span class="c-dot">· </span>{}</span></time>',
        clock.iso(instant),
        formats.instant_in_full(instant),
        formats.ago(instant),
        formats.clock(instant),
    )


@register.simple_tag
def ident(value: UUID | str, href: str = "") -> SafeString:
    """An id: its first characters, a copy button, the whole of it for screen readers."""
    text = str(value)
    short = text if len(text) <= 12 else text[-8:] if _is_uuid(text) else f"{text[:12]}…"
    shown = format_html('<code title="{}">{}</code>', text, short)
    if href:
        shown = format_html('<a href="{}">{}</a>', href, shown)
    return format_html(
        '<span class="c-id">{}<button type="button" class="c-copy" data-copy="{}" aria-label="Copy {}">'
        '<span class="material-symbols-outlined" aria-hidden="true">content_copy</span></button></span>',
        shown,
        text,
        text,
    )


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4


@register.filter
def text(value: Any, length: int = formats.TEXT_MAX) -> SafeString:
    """What somebody outside wrote: escaped, in a direction of its own, control characters visible, cut."""
    whole = formats.harmless(str(value or ""))
    if len(whole) <= length:
        return format_html("<bdi>{}</bdi>", whole)
    return format_html(
        '<details class="c-more"><summary><bdi>{}</bdi>… <span>more</span></summary><bdi>{}</bdi></details>',
        whole[:length],
        whole,
    )


@register.filter
def pretty_json(value: Any) -> SafeString:
    """JSON in lines, as text."""
    shown = formats.harmless(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).replace("\n", "\f"))
    return format_html('<pre class="c-json"><bdi>{}</bdi></pre>', shown.replace("\N{SYMBOL FOR NULL}", "\n"))


@register.inclusion_tag("console/parts/chart.html")
def chart(drawn: Chart) -> dict[str, Any]:
    """A chart with its sentence, and the same figures as a table."""
    return {"chart": drawn, "data": json_script(drawn.data(), f"chart-{drawn.id}-data")}


@register.simple_tag
def icon(name: str) -> SafeString:
    return format_html('<span class="material-symbols-outlined" aria-hidden="true">{}</span>', name)


@register.simple_tag
def bar(part: int, whole: int, label: str = "") -> SafeString:
    """A share as a bar with its figure in words."""
    share = 0 if whole <= 0 else max(0, min(100, 100 * part // whole))
    return format_html(
        '<span class="c-bar"><meter min="0" max="100" value="{}">{} %</meter>{}</span>',
        share,
        share,
        label and mark_safe(" ") + format_html("{}", label),
    )


@register.simple_tag(takes_context=True)
def query(context: template.RequestContext, **changes: Any) -> str:
    """The page's query string with these parameters changed; None drops one. A cursor does not outlive them."""
    given = context["request"].GET.copy()
    given.pop("cursor", None)
    for name, value in changes.items():
        given.pop(name, None)
        if value is not None:
            given[name] = str(value)
    encoded = given.urlencode()
    return f"?{encoded}" if encoded else "?"


@register.simple_tag(takes_context=True)
def drop(context: template.RequestContext, names: Any) -> str:
    """The page's query string without these parameters, at the first page."""
    return query(context, page=None, **dict.fromkeys(names))


@register.simple_tag(takes_context=True)
def turn(context: template.RequestContext, to: dict[str, Any]) -> str:
    """The page's query string at another page."""
    return query(context, **to)


@register.simple_tag(takes_context=True)
def sort_link(context: template.RequestContext, field: str, order: str) -> str:
    """Sort by this column, the other way round when it is sorted so already."""
    return query(context, page=None, order=f"-{field}" if order == field else field)
