"""CPU time of processes, read from /proc (Linux only)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Stat:
    pid: int
    name: str
    state: str
    group: int
    # Its own and that of children it has waited for, so that summing over living processes counts nothing twice.
    cpu_s: float


def group_cpu_seconds(group: int) -> float:
    """CPU of the processes of a process group, and of those of it that ended.

    Raises: ProcessLookupError when none is left.
    """
    found = [stat for stat in _stats() if stat.group == group and stat.state != "Z"]
    if not found:
        raise ProcessLookupError(f"no process is left in group {group}")
    return sum(stat.cpu_s for stat in found)


def named_cpu_seconds(name: str) -> float:
    """CPU of all processes of this machine with that name, such as `postgres` or `redis-server`."""
    return sum(stat.cpu_s for stat in _stats() if stat.name == name)


def group_members(group: int) -> int:
    """How many processes of a process group live."""
    return sum(stat.group == group and stat.state != "Z" for stat in _stats())


def group_pids(group: int) -> list[int]:
    """The processes of a process group that live."""
    return [stat.pid for stat in _stats() if stat.group == group and stat.state != "Z"]


def _stats() -> Iterator[_Stat]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            # It ended since the listing.
            continue
        # The name is in parentheses and may hold spaces and parentheses itself.
        name = text[text.index("(") + 1 : text.rindex(")")]
        fields = text[text.rindex(")") + 2 :].split()
        ticks = sum(int(value) for value in fields[11:15])
        yield _Stat(
            pid=int(folder.name), name=name, state=fields[0], group=int(fields[2]), cpu_s=ticks / _TICKS_PER_S
        )
