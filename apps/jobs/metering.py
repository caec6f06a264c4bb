"""What a call used and what it cost us: by the provider's count, or by ours where that is missing or absurd.

The one place where it is decided which price counts: the alias's own, what the backend reports, the price in force at
admission, the estimate, none (docs/prices.md).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from django.db import DatabaseError, InterfaceError

from apps.catalog import prices
from apps.catalog.errors import PriceNotFound
from apps.catalog.price_models import PriceSource
from apps.catalog.rates import Rates
from apps.jobs import bounds
from apps.jobs.gateway.interface import Completion
from apps.jobs.models import Call

log = logging.getLogger("saasllm.metering")

# Usage above this multiple of the bound (plus a floor) is absurd: a provider's bug, not a long answer.
_ABSURD_FACTOR = 10
_ABSURD_FLOOR_TOKENS = 100_000


@dataclass(frozen=True, slots=True)
class Metered:
    """What an answer used and cost. `classes` are None when there is nothing but plain input and output."""

    prompt_tokens: int
    completion_tokens: int
    cost_nanousd: int
    price_source: str
    classes: dict[str, int] | None = None
    is_estimated: bool = False
    has_mismatch: bool = False


def of_answer(call: Call, completion: Completion, *, answer_bytes: int) -> Metered:
    """What an answer used and cost, by the prices frozen on its call."""
    usage = completion.usage
    is_estimated = usage is None or (
        usage.prompt_tokens > _ABSURD_FACTOR * call.bound_input_tokens + _ABSURD_FLOOR_TOKENS
        or usage.completion_tokens > _ABSURD_FACTOR * call.bound_output_tokens + _ABSURD_FLOOR_TOKENS
    )
    if usage is None or is_estimated:
        prompt = min(bounds.estimated_tokens(len(call.payload.request.encode())), call.bound_input_tokens)
        output = min(bounds.estimated_tokens(answer_bytes), call.bound_output_tokens)
        classes, has_mismatch = None, False
    else:
        prompt, output, classes = usage.prompt_tokens, usage.completion_tokens, usage.classes
        has_mismatch = usage.has_mismatch
    cost = cost_nanousd(call, call.payload.request, prompt, output, classes=classes)
    source = call.price_source
    reported = completion.cost_nanousd
    if reported is not None and _is_reported_cost_taken(source, reported, cost, has_mismatch=has_mismatch):
        cost, source = reported, PriceSource.REPORTED
    return Metered(prompt, output, cost, source, classes, is_estimated, has_mismatch)


def _is_reported_cost_taken(source: str, reported: int, computed: int, *, has_mismatch: bool) -> bool:
    if source == PriceSource.ALIAS:
        return False
    if source == PriceSource.NONE:
        return True
    # LiteLLM says 0 of a model that it has no price for; of usage that contradicts itself the dearer reading counts.
    return reported > 0 and not (has_mismatch and computed > reported)


def lost_cost_nanousd(call: Call, request: str) -> int:
    """What a try may have cost of which no usage is known: its input, estimated, by the price frozen on the call."""
    return cost_nanousd(call, request, bounds.estimated_tokens(len(request.encode())), 0)


def delivered_usage(call: Call, request: str, delivered_bytes: int) -> tuple[int, int, int]:
    """Tokens in and out, and nano-dollars, of a stream of which only what was sent on is known."""
    prompt = min(bounds.estimated_tokens(len(request.encode())), call.bound_input_tokens)
    output = min(bounds.estimated_tokens(delivered_bytes), call.bound_output_tokens)
    return prompt, output, cost_nanousd(call, request, prompt, output)


def cost_nanousd(
    call: Call,
    request: str,
    prompt_tokens: int,
    completion_tokens: int,
    *,
    classes: Mapping[str, int] | None = None,
) -> int:
    """Nano-dollars by the price frozen on the call; 0 when it has none."""
    rates = rates_of(call)
    if rates is None:
        return 0
    images = bounds.images(orjson.loads(request)) if rates.per_image else 0
    return rates.cost_nanousd(classes or {"input": prompt_tokens, "output": completion_tokens}, images=images)


def rates_of(call: Call) -> Rates | None:
    """The rates of the price frozen on the call; None when it has none."""
    if call.input_nanousd_per_mtok is None or call.output_nanousd_per_mtok is None:
        return None
    if call.price_id is not None:
        try:
            return prices.rates_of(call.price_id)
        except (DatabaseError, InterfaceError, PriceNotFound) as error:
            # The answer is paid for, and what is frozen beside the price is enough to settle it.
            log.warning("call %s: its price could not be read: %s", call.pk, type(error).__name__)
    return Rates(call.input_nanousd_per_mtok, call.output_nanousd_per_mtok)


def prepare(call: Call) -> None:
    """Read the prices that settling the call may need, so that no connection is taken while its provider works."""
    wanted = [each["price_id"] for each in call.candidates or () if each.get("price_id")]
    if call.price_id is not None:
        wanted.append(call.price_id)
    if wanted:
        try:
            prices.load(wanted)
        except (DatabaseError, InterfaceError) as error:
            log.warning("call %s: its prices could not be read yet: %s", call.pk, type(error).__name__)
