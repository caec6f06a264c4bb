"""The models that may answer a call, in the order in which they are tried, frozen on the call at its admission.

A failing model is passed over for a while by this process, as long as another one is left. On the route `openai` that
is each organization's own affair: its credential, and so its rate limit and its address, are others than its
neighbour's, or may be at any moment.
"""

import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from apps.catalog.models import ModelAlias
from apps.catalog.price_models import PriceSource
from apps.catalog.services import ResolvedModel
from apps.jobs.gateway.interface import GatewayError
from apps.jobs.models import Call

# A model that failed so often in a row is left out for so long.
FAILURES_BEFORE_REST = 3
REST_S = 30.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as a call needs to know it. Prices in nano-dollars a million tokens; None where there is none."""

    model_used: str
    route: str
    provider: str
    provider_model: str
    input_nanousd_per_mtok: int | None
    output_nanousd_per_mtok: int | None
    context_window_tokens: int | None = None
    timeout_s: int | None = None
    price_id: UUID | None = None
    price_source: str = PriceSource.NONE


def frozen(model: ResolvedModel, *, only_priced: bool) -> list[dict[str, Any]] | None:
    """What a call keeps of its models; nothing when the call's own columns say it all."""
    found = [_candidate(each) for each in model.candidates if each.has_prices or not only_priced]
    if len(found) == 1 and found[0].timeout_s is None:
        return None
    return [{**asdict(each), "price_id": each.price_id and str(each.price_id)} for each in found]


def of_call(call: Call) -> list[Candidate]:
    """The call's models, best first; those at rest come last."""
    if not call.candidates:
        return [
            Candidate(
                call.model_used,
                call.route,
                call.provider,
                call.provider_model,
                call.input_nanousd_per_mtok,
                call.output_nanousd_per_mtok,
                price_id=call.price_id,
                price_source=call.price_source,
            )
        ]
    found = [_thawed(each) for each in call.candidates]
    return sorted(found, key=lambda candidate: _rests.is_resting(_name(call, candidate)))


def _thawed(kept: dict[str, Any]) -> Candidate:
    candidate = Candidate(**kept)
    return replace(candidate, price_id=UUID(kept["price_id"])) if kept.get("price_id") else candidate


def may_follow(error: GatewayError, failed: Candidate, following: Candidate) -> bool:
    """Whether another model may do better after this failure."""
    if error.code == "context_length_exceeded":
        window, next_window = failed.context_window_tokens, following.context_window_tokens
        return next_window is None or (window is not None and next_window > window)
    return error.is_retryable or error.code == "provider_configuration"


def note(call: Call, candidate: Candidate, *, has_failed: bool) -> None:
    """Remember how a try of the call went."""
    _rests.note(_name(call, candidate), has_failed=has_failed)


def forget() -> None:
    """All models are well again: between tests."""
    _rests.forget()


# Route, provider, provider model, and the organization whose credential may be its own (else 0).
_Name = tuple[str, str, str, int]


class _Rests:
    """Failures in a row of each model, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[_Name, int] = {}
        self._until: dict[_Name, float] = {}

    def is_resting(self, name: _Name) -> bool:
        return time.monotonic() < self._until.get(name, 0.0)

    def note(self, name: _Name, *, has_failed: bool) -> None:
        if not has_failed and name not in self._failures:
            return
        with self._lock:
            if not has_failed:
                self._failures.pop(name, None)
                self._until.pop(name, None)
                return
            self._failures[name] = self._failures.get(name, 0) + 1
            if self._failures[name] >= FAILURES_BEFORE_REST:
                # One more failure after the rest sends it back at once.
                self._until[name] = time.monotonic() + REST_S

    def forget(self) -> None:
        with self._lock:
            self._failures.clear()
            self._until.clear()


_rests = _Rests()


def _name(call: Call, candidate: Candidate) -> _Name:
    if candidate.route != ModelAlias.Route.OPENAI:
        return candidate.route, "", candidate.provider_model, 0
    return candidate.route, candidate.provider, candidate.provider_model, call.organization_id


def _candidate(model: ResolvedModel) -> Candidate:
    return Candidate(
        model_used=model.alias,
        route=model.route,
        provider=model.provider,
        provider_model=model.provider_model,
        input_nanousd_per_mtok=model.input_nanousd_per_mtok,
        output_nanousd_per_mtok=model.output_nanousd_per_mtok,
        context_window_tokens=model.context_window_tokens,
        timeout_s=model.timeout_s,
        price_id=model.price_id,
        price_source=model.price_source,
    )
