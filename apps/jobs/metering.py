"""What a call used and what it cost us: by the provider's count, or by ours where that is missing or absurd."""

from apps.credits.pricing import token_cost_nanousd
from apps.jobs import bounds
from apps.jobs.gateway.interface import Completion
from apps.jobs.models import Call

# Usage above this multiple of the bound (plus a floor) is absurd: a provider's bug, not a long answer.
_ABSURD_FACTOR = 10
_ABSURD_FLOOR_TOKENS = 100_000


def usage_of(call: Call, completion: Completion, *, answer_bytes: int) -> tuple[int, int, bool]:
    """Tokens in and out, and whether they are our own count: for usage that is missing, negative or absurd."""
    usage = completion.usage
    if (
        usage is not None
        and usage.prompt_tokens <= _ABSURD_FACTOR * call.bound_input_tokens + _ABSURD_FLOOR_TOKENS
        and usage.completion_tokens <= _ABSURD_FACTOR * call.bound_output_tokens + _ABSURD_FLOOR_TOKENS
    ):
        return usage.prompt_tokens, usage.completion_tokens, False
    prompt = min(bounds.estimated_tokens(len(call.payload.request.encode())), call.bound_input_tokens)
    return prompt, min(bounds.estimated_tokens(answer_bytes), call.bound_output_tokens), True


def lost_cost_nanousd(call: Call, request: str) -> int:
    """What a try may have cost of which no usage is known: its input, estimated, by the price frozen on the call."""
    return cost_nanousd(call, bounds.estimated_tokens(len(request.encode())), 0)


def delivered_usage(call: Call, request: str, delivered_bytes: int) -> tuple[int, int, int]:
    """Tokens in and out, and nano-dollars, of a stream of which only what was sent on is known."""
    prompt = min(bounds.estimated_tokens(len(request.encode())), call.bound_input_tokens)
    output = min(bounds.estimated_tokens(delivered_bytes), call.bound_output_tokens)
    return prompt, output, cost_nanousd(call, prompt, output)


def cost_nanousd(call: Call, prompt_tokens: int, completion_tokens: int) -> int:
    """Nano-dollars by the price frozen on the call; 0 when it has none."""
    if call.input_nanousd_per_mtok is None or call.output_nanousd_per_mtok is None:
        return 0
    return token_cost_nanousd(
        input_tokens=prompt_tokens,
        output_tokens=completion_tokens,
        input_nanousd_per_mtok=call.input_nanousd_per_mtok,
        output_nanousd_per_mtok=call.output_nanousd_per_mtok,
    )
