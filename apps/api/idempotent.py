"""Writes that can be repeated: with an Idempotency-Key the effect happens once and the answer is rebuilt."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import ApiView
from apps.core import idempotency

Ids = dict[str, Any]


def respond(
    view: ApiView,
    request: Request,
    *,
    effect: Callable[[], Ids | tuple[Ids, str]],
    render: Callable[[Ids, str | None], dict[str, Any] | list[Any]],
) -> Response:
    """Do `effect` once per key and answer with `render`.

    `effect` returns the ids of what it did, with the answer's secret if it has one; `render` builds the answer
    from them, also for a repeat, where the secret is None once its ten minutes are over.
    """
    key = view.idempotent(request)
    with transaction.atomic():
        slot = idempotency.claim(key) if key else None
        if slot is not None and slot.is_replay:
            ids, secret = slot.result, slot.secret()
        else:
            done = effect()
            ids, secret = done if isinstance(done, tuple) else (done, None)
            if slot is not None:
                slot.record(ids, secret=secret or "")
    return answer(render(ids, secret), is_replay=slot is not None and slot.is_replay)


def answer(data: Any, *, is_replay: bool = False) -> Response:
    """200 with `data`, marked when it repeats an earlier answer."""
    response = Response(data)
    if is_replay:
        response["Idempotency-Replayed"] = "true"
    return response
