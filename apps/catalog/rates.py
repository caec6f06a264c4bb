"""What a provider charges for each class of tokens, and what a call then costs. Pure, in exact integers.

Rates are nano-dollars per million tokens. A class without a rate of its own is charged as its parent.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

# Classes are disjoint: a cached token is no token of `input`.
INPUT_CLASSES = ("input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "image_input")
OUTPUT_CLASSES = ("output", "reasoning", "audio_output", "image_output")
CLASSES = (*INPUT_CLASSES, *OUTPUT_CLASSES)
PARENTS = {
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "image_input": "input",
    "reasoning": "output",
    "audio_output": "output",
    "image_output": "output",
}
PER_PIECE = ("per_request", "per_image")
_MTOK = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars per million tokens of each class, and per request and image that is sent. None: as its parent."""

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    per_request: int = 0
    per_image: int = 0

    def of(self, name: str) -> int:
        """The rate of a class, its parent's when it has none."""
        rate: int | None = getattr(self, name)
        return self.of(PARENTS[name]) if rate is None else rate

    def cost_nanousd(self, tokens: Mapping[str, int], *, images: int = 0, requests: int = 1) -> int:
        """What so many tokens of each class cost, rounded up once: it is our cost."""
        total = sum(count * self.of(name) for name, count in tokens.items())
        return -(-total // _MTOK) + self.per_request * requests + self.per_image * images

    @property
    def dearest_input(self) -> int:
        """The most that an input token without image or sound can cost."""
        return max(self.input, *(self.of(name) for name in ("cached_input", "cache_write", "cache_write_1h")))

    @property
    def dearest_output(self) -> int:
        """The most that an output token without image or sound can cost."""
        return max(self.output, self.of("reasoning"))

    def given(self) -> dict[str, int]:
        """Those that are set, by name. A class may be free; nothing per piece is as good as not set."""
        return {name: rate for name, rate in asdict(self).items() if rate or (rate == 0 and name not in PER_PIECE)}
