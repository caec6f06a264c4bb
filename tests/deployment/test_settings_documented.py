"""docs/settings.md and .env.example say what saasllm/settings.py reads: no more, no less, with its defaults."""

import ast
import re

from tests.deployment import image
from tests.deployment.image import ROOT

_ROW = re.compile(r"^\| `(?P<name>[A-Z0-9_]+)` \| (?P<default>.*?) \| (?P<meaning>.+) \|$", re.MULTILINE)


def read_by_settings() -> dict[str, ast.expr | None]:
    """Every variable that is read, with its default as written."""
    found: dict[str, ast.expr | None] = {}
    for node in ast.walk(ast.parse((ROOT / "saasllm" / "settings.py").read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name("env")), args=[ast.Constant(str(name))], keywords=keywords
            ):
                found[name] = next((word.value for word in keywords if word.arg == "default"), None)
            case ast.Call(func=ast.Attribute(value=ast.Name("env"))):
                raise AssertionError(f"line {node.lineno}: a variable's name must be written out")
    return found


def documented() -> dict[str, str]:
    rows = _ROW.findall((ROOT / "docs" / "settings.md").read_text())
    names = [name for name, _, _ in rows]
    assert len(names) == len(set(names)), "a setting is documented twice"
    return {name: default for name, default, _ in rows}


def as_documented(value: object) -> str:
    if value is None or value in ("", []):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{','.join(value)}`" if isinstance(value, list) else f"`{value}`"


def test_settings_are_read_in_one_place() -> None:
    assert len(read_by_settings()) > 40


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(documented()) == set(read_by_settings())


def test_documented_defaults_are_the_real_ones() -> None:
    written = documented()
    for name, default in read_by_settings().items():
        try:
            value = ast.literal_eval(default) if default else None
        except ValueError:
            # Computed: described in words.
            assert written[name] not in ("", "empty"), name
            continue
        assert written[name] == as_documented(value), name


def test_every_name_in_the_example_exists() -> None:
    named = set(image.variables_of(ROOT / ".env.example"))
    assert named <= set(read_by_settings()) | image.variables_of_compose()


def test_the_example_names_whatever_compose_needs() -> None:
    assert image.variables_of_compose() <= set(image.variables_of(ROOT / ".env.example"))


def test_commented_values_of_the_example_are_the_defaults() -> None:
    text = (ROOT / ".env.example").read_text()
    commented = dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=([\w.]+)$", text, flags=re.MULTILINE))
    written = documented()
    settings_alone = {name: value for name, value in commented.items() if name in written}
    assert settings_alone
    assert {name: f"`{value}`" for name, value in settings_alone.items()} == {
        name: written[name] for name in settings_alone
    }
