"""Reads the YAML of compose.yaml and deploy/litellm.yaml, so that tests need no package for it.

Block mappings and sequences, flow collections on one line, quoted and plain scalars, `>-`, an anchor on a mapping
and `<<` of it. Anything else raises ValueError: a file that this reads is read alike by every YAML parser.
"""

import re
from collections.abc import Iterator
from typing import Any

_KEY = re.compile(r"(?P<key>[A-Za-z_<][\w<.-]*):(?: +(?P<rest>\S.*))?")
_ANCHOR = re.compile(r"&(?P<name>[\w-]+)")
_PLAIN = re.compile(r"[^\s'\"\[\]{}&*!|>%@`,#?:-][^#]*|-[^\s#][^#]*")
_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[][{},]|:(?=\s))|"(?P<double>[^"\\]*)"|'(?P<single>[^']*)'|(?P<plain>[^][{},"'\s]+))"""
)
_CONSTANTS = {"true": True, "false": False, "null": None}

Line = tuple[int, str]


def load(text: str) -> Any:
    """The document as dicts, lists, strings, integers, booleans and None.  Raises: ValueError."""
    reader = _Reader(list(_lines(text)))
    value = reader.block(indent=0)
    if reader.lines:
        raise ValueError(f"what follows is indented unlike what is before: {reader.lines[0]}")
    return value


def _lines(text: str) -> Iterator[Line]:
    """Lines with their indent, without comments and empty ones."""
    folded_indent: int | None = None
    for line in text.splitlines():
        if "\t" in line:
            raise ValueError(f"a tab in {line!r}")
        indent, content = len(line) - len(line.lstrip(" ")), line.strip()
        is_dropped = not content or content.startswith("#")
        if folded_indent is not None and not is_dropped and indent <= folded_indent:
            folded_indent = None
        if folded_indent is not None and is_dropped and indent > folded_indent:
            raise ValueError(f"in a folded scalar this is text: {line!r}")
        if not is_dropped:
            if content.endswith(">-"):
                folded_indent = indent
            yield indent, content


class _Reader:
    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self._anchors: dict[str, dict[str, Any]] = {}

    def block(self, *, indent: int) -> Any:
        if self.lines[0][1].startswith("- "):
            return self._sequence(indent)
        return self._mapping(indent)

    def _sequence(self, indent: int) -> list[Any]:
        items = []
        while self.lines and self.lines[0][0] == indent and self.lines[0][1].startswith("- "):
            text = self.lines.pop(0)[1][2:].strip()
            if _KEY.fullmatch(text):
                # The first key of a mapping that goes on below, two columns in.
                self.lines.insert(0, (indent + 2, text))
                items.append(self._mapping(indent + 2))
            else:
                items.append(scalar(text))
        return items

    def _mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while self.lines and self.lines[0][0] == indent:
            match = _KEY.fullmatch(self.lines.pop(0)[1])
            if match is None:
                raise ValueError(f"no key after {list(found)}")
            key, rest = match["key"], match["rest"] or ""
            if key == "<<":
                merged = self._anchors[rest.removeprefix("*")]
            elif key in found:
                raise ValueError(f"{key} stands twice")
            else:
                found[key] = self._value(rest, indent)
        return {**merged, **found}

    def _value(self, rest: str, indent: int) -> Any:
        if rest == ">-":
            return " ".join(self._deeper(indent))
        anchor = _ANCHOR.fullmatch(rest)
        if rest and anchor is None:
            return scalar(rest)
        if not self.lines or self.lines[0][0] <= indent:
            return None
        value = self.block(indent=self.lines[0][0])
        if anchor:
            self._anchors[anchor["name"]] = value
        return value

    def _deeper(self, indent: int) -> list[str]:
        texts = []
        while self.lines and self.lines[0][0] > indent:
            texts.append(self.lines.pop(0)[1])
        return texts


def scalar(text: str) -> Any:
    """A scalar or a flow collection."""
    if text[0] in "[{\"'":
        tokens = _tokens(text)
        value = _flow(tokens)
        if tokens:
            raise ValueError(f"more than one value in {text!r}")
        return value
    if not _PLAIN.fullmatch(text) or ": " in text or text.endswith(":"):
        raise ValueError(f"no plain scalar: {text!r}")
    return _plain(text)


def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return int(text) if text.isdecimal() else text


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"cannot be read from {text[at:]!r} on")
        word = match[match.lastgroup]
        if match.lastgroup == "plain" and word.endswith(":"):
            tokens += [("plain", word[:-1]), ("mark", ":")]
        else:
            tokens.append((match.lastgroup, word))
        at = match.end()
    return tokens


def _flow(tokens: list[tuple[str, str]]) -> Any:
    kind, word = tokens.pop(0)
    if kind != "mark":
        return _plain(word) if kind == "plain" else word
    if word == "[":
        items = []
        while tokens[0] != ("mark", "]"):
            items.append(_flow(tokens))
            _skip_comma(tokens, closing="]")
        tokens.pop(0)
        return items
    if word == "{":
        pairs = {}
        while tokens[0] != ("mark", "}"):
            key = _flow(tokens)
            if tokens.pop(0) != ("mark", ":"):
                raise ValueError(f"no colon after {key!r}")
            pairs[key] = _flow(tokens)
            _skip_comma(tokens, closing="}")
        tokens.pop(0)
        return pairs
    raise ValueError(f"{word!r} where a value should be")


def _skip_comma(tokens: list[tuple[str, str]], *, closing: str) -> None:
    if tokens[:1] == [("mark", ",")]:
        tokens.pop(0)
    elif tokens[:1] != [("mark", closing)]:
        raise ValueError(f"neither a comma nor {closing} before {tokens[:1]}")
