"""docs/errors.md and the code name the same errors with the same statuses."""

import importlib
import pkgutil
import re
from pathlib import Path

import apps
from apps.api.errors import STATUSES
from apps.core.errors import DomainError

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
ROW = re.compile(r"^\| `([a-z_]+)` \| (\d{3}) \|", re.M)


def kinds_of_errors(base: type[DomainError] = DomainError) -> set[type[DomainError]]:
    below = {kind for sub in base.__subclasses__() for kind in kinds_of_errors(sub)}
    return below | set(base.__subclasses__())


def test_every_error_code_is_documented_with_its_status():
    for module in pkgutil.walk_packages(apps.__path__, "apps."):
        if ".migrations" not in module.name:
            importlib.import_module(module.name)
    in_code = {
        kind.code: next(STATUSES[base] for base in kind.__mro__ if base in STATUSES)
        for kind in kinds_of_errors()
        if kind.__module__.startswith("apps.")
    }
    first_table = (DOCS / "errors.md").read_text().split("## A call that failed")[0]
    assert {code: int(status) for code, status in ROW.findall(first_table)} == in_code


def test_every_way_a_call_can_fail_is_documented():
    jobs = Path(apps.__path__[0], "jobs")
    sources = [*(jobs / "gateway").glob("*.py"), jobs / "sweeper.py"]
    source = "\n".join(path.read_text() for path in sources)
    in_code = set(re.findall(r'GatewayError\(\s*"(\w+)"', source))
    in_code |= set(re.findall(r'Call\.State\.\w+,\s+"(\w+)"', source))
    for module in ("asking.py", "execution.py"):
        in_code |= set(re.findall(r'code="(\w+)"', (jobs / module).read_text()))
    second_table = (DOCS / "errors.md").read_text().split("## A call that failed")[1]
    assert {code for code, _ in ROW.findall(second_table)} == in_code
