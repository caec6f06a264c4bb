import pytest

from tests.deployment import yaml_subset


def test_what_the_files_use_is_read() -> None:
    document = """
# a comment
base: &base
  image: name:tag
  list: [a, "b: c", {d: true}]
  empty: {}
one:
  <<: *base
  image: other
  command: >-
    run --flag
    --more 'x'
models:
  - name: first
    settings:
      tries: 0
  - plain
nothing:
"""
    base = {"image": "name:tag", "list": ["a", "b: c", {"d": True}], "empty": {}}
    assert yaml_subset.load(document) == {
        "base": base,
        "one": {**base, "image": "other", "command": "run --flag --more 'x'"},
        "models": [{"name": "first", "settings": {"tries": 0}}, "plain"],
        "nothing": None,
    }


@pytest.mark.parametrize(
    "document",
    [
        "key: |\n  text",
        "key: [a, b",
        "key: a: b",
        "key: value # remark",
        "key: @value",
        "one: 1\none: 2",
        "one: 1\n  two: 2",
        "one:\n\t- two",
        "key: >-\n  text\n  # is text too\n",
        'key: "a\\nb"',
    ],
)
def test_what_might_be_read_otherwise_is_refused(document: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        yaml_subset.load(document)
