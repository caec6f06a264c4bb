"""What is stored encrypted: each app registers its columns, so that a new ENCRYPTION_KEY can reach all of them.

Values are written anew one by one, guarded by what was read: whoever changes one meanwhile wins.
"""

from dataclasses import dataclass

from django.db import models, transaction

from apps.core import audit, crypto
from apps.core.actors import Actor


@dataclass(frozen=True, slots=True)
class Rotated:
    """What became of one column: `unreadable` are the primary keys of values that no key of ours decrypts."""

    column: str
    stored: int
    renewed: int
    unreadable: list[str]


_columns: dict[str, tuple[type[models.Model], str]] = {}
_in_json: dict[str, tuple[type[models.Model], str, tuple[str, ...]]] = {}


def register(model: type[models.Model], field: str) -> None:
    """A text column of `crypto.encrypt`'s values, empty where there is none."""
    _columns[f"{model._meta.label}.{field}"] = (model, field)


def register_in_json(model: type[models.Model], field: str, keys: tuple[str, ...]) -> None:
    """A column of JSON objects, of which these keys, where they are, hold `crypto.encrypt`'s values."""
    _in_json[f"{model._meta.label}.{field}"] = (model, field, keys)


def rotate(*, actor: Actor) -> list[Rotated]:
    """Encrypt every stored secret anew that the newest key did not make, in one transaction. Repeatable."""
    with transaction.atomic():
        done = [_rotate(name, model, field) for name, (model, field) in sorted(_columns.items())]
        done += [_rotate_in_json(name, *where) for name, where in sorted(_in_json.items())]
        if any(each.renewed for each in done):
            renewed = {each.column: each.renewed for each in done}
            audit.record("encryption.rotate", actor=actor, kind="encryption", id="all", after=renewed)
    return done


def _rotate(name: str, model: type[models.Model], field: str) -> Rotated:
    stored, renewed, unreadable = 0, 0, []
    rows = model._default_manager.exclude(**{field: ""}).order_by("pk").values_list("pk", field)
    for pk, token in list(rows):
        stored += 1
        if crypto.is_newest(token):
            continue
        text = crypto.decrypt(token)
        if text is None:
            unreadable.append(str(pk))
            continue
        renewed += model._default_manager.filter(pk=pk, **{field: token}).update(**{field: crypto.encrypt(text)})
    return Rotated(name, stored, renewed, unreadable)


def _rotate_in_json(name: str, model: type[models.Model], field: str, keys: tuple[str, ...]) -> Rotated:
    stored, renewed, unreadable = 0, 0, []
    for row in model._default_manager.select_for_update().order_by("pk"):
        kept = getattr(row, field)
        tokens = {key: kept[key] for key in keys if isinstance(kept, dict) and kept.get(key)}
        stored += len(tokens)
        texts = {key: crypto.decrypt(token) for key, token in tokens.items() if not crypto.is_newest(token)}
        unreadable += [str(row.pk) for text in texts.values() if text is None]
        fresh = {key: crypto.encrypt(text) for key, text in texts.items() if text is not None}
        if fresh:
            setattr(row, field, kept | fresh)
            row.save(update_fields=[field])
            renewed += len(fresh)
    return Rotated(name, stored, renewed, unreadable)
