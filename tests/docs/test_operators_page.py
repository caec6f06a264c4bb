"""docs/operators.md shows the table of rights as it is."""

import re
from pathlib import Path

from apps.organizations import rights
from apps.organizations.rights import Level, Right, Role

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "operators.md").read_text()
MARKS = {Level.FULL: "+", Level.LIMITED: "~", Level.NONE: "-"}


def test_the_page_shows_every_cell():
    rows = dict(re.findall(r"^\| `([a-z.]+)` \| (. \| . \| . \| . \| . \| .+) \|$", PAGE, re.M))
    assert rows == {
        right.value: " | ".join([*(MARKS[rights.level(role, right)] for role in Role), rights.MEANING[right]])
        for right in Right
    }


def test_the_page_shows_every_limit():
    shown = re.findall(r"^\| `([a-z.]+)` \| ([a-z]+) \| ([^|]+) \|$", PAGE, re.M)
    assert shown == [(right.value, role.value, limit) for (right, role), limit in rights.LIMITED.items()]
