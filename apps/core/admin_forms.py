"""Fields of operators' forms: JSON objects a database can store, words one a line."""

import json
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput


class ObjectField(forms.JSONField):
    """A JSON object of at most METADATA_MAX_BYTES that both databases can store. Empty means {}."""

    widget = AdminTextareaWidget

    def bound_data(self, data: Any, initial: Any) -> Any:
        # What was typed is shown again as it was: parsing it here fails on what `to_python` refuses.
        return None if data is None else InvalidJSONInput(data)

    def to_python(self, value: Any) -> Any:
        try:
            parsed = super().to_python(value)
        except (RecursionError, ValueError):
            # Python refuses numbers of thousands of digits and deep nesting before we see them.
            raise ValidationError("This JSON is nested too deeply or holds a number that is too long.") from None
        if parsed is None:
            return {}
        if not isinstance(parsed, dict):
            raise ValidationError('Must be a JSON object, e.g. {"plan": "gold"}.')
        _require_storable(parsed)
        return parsed


def _require_storable(data: dict[str, Any]) -> None:
    """Raises: ValidationError for NUL, lone surrogates, NaN and what is too deep or too large."""
    level: list[Any] = [data]
    for _ in range(settings.MAX_JSON_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str) and "\x00" in value:
                raise ValidationError("Text may not contain NUL characters.")
        if not below:
            break
        level = below
    else:
        raise ValidationError(f"JSON may be nested {settings.MAX_JSON_DEPTH} levels deep.")
    try:
        size_bytes = len(json.dumps(data, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:
        raise ValidationError("Numbers must be finite and text must be valid Unicode.") from None
    if size_bytes > settings.METADATA_MAX_BYTES:
        raise ValidationError(f"At most {settings.METADATA_MAX_BYTES} bytes, not {size_bytes}.")


class WordsField(forms.CharField):
    """Words, one a line or separated by commas, as a list without repeats."""

    widget = AdminTextareaWidget

    def clean(self, value: Any) -> list[str]:
        text = str(super().clean(value))
        return list(dict.fromkeys(word.strip() for word in text.replace(",", "\n").splitlines() if word.strip()))
