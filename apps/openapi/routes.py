"""What is routed: every path of the HTTP surface with the view behind it, read from the URL patterns themselves."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

# What this document describes. The rest are pages for people.
SURFACE = re.compile(r"/(?:(?:api|v1)/.*|health|livez|readyz)")
METHODS = ("get", "post", "put", "patch", "delete")

_NAMED = re.compile(r"\(\?P<(\w+)>(?:[^()\[\]]|\[[^\]]*\])*\)")
_LOOKAHEAD = re.compile(r"\(\?=[^()]*\)")


@dataclass(frozen=True, slots=True)
class Route:
    """A method on a path. `view` is the class behind it, None for a plain function."""

    method: str
    path: str
    view: type[Any] | None

    @property
    def key(self) -> str:
        """As operations are looked up: `GET /api/teams/{team_id}`."""
        return f"{self.method.upper()} {self.path}"

    @property
    def parameters(self) -> list[str]:
        """The names in the path, in order."""
        return re.findall(r"\{(\w+)\}", self.path)


def routes() -> list[Route]:
    """Every method of every path of the surface, as routed."""
    found = []
    for path, callback in _walk(get_resolver().url_patterns, ""):
        if SURFACE.fullmatch(path):
            view = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
            methods = [name for name in METHODS if hasattr(view, name)] if view else ["get"]
            found += [Route(method, path, view) for method in methods]
    return found


def _walk(patterns: list[URLPattern | URLResolver], before: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for each in patterns:
        path = before + _template(str(each.pattern))
        if isinstance(each, URLResolver):
            yield from _walk(each.url_patterns, path)
        else:
            yield f"/{path}", each.callback


def _template(pattern: str) -> str:
    """A pattern of ours as a path with `{name}` parts, without the slash that is tolerated at its end."""
    without = _LOOKAHEAD.sub("", pattern).removeprefix("^").removesuffix("$").removesuffix("/?")
    return _NAMED.sub(r"{\1}", without).replace("\\", "")
