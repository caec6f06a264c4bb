"""JSON as bytes, quickly; and also what the quick way has no words for.

PostgreSQL prints a large number that came as 1e20 with all its digits, which Python reads as an integer of more than
64 bits. What a customer could store must be shown, and must not be somebody else's error.
"""

import json
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """`value` as UTF-8 JSON. Raises: TypeError for what is no JSON at all."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_spelled).encode()


def _spelled(value: Any) -> Any:
    """Instants, UUIDs and enums as orjson spells them. Raises: TypeError."""
    return json.loads(orjson.dumps(value))
