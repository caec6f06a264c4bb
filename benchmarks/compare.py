"""A change judged as a ratio: another commit and this tree run side by side, window by window in turn.

The host's speed drifts by more than most changes bring; within a pair of windows it hardly does.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Load, Window, measure
from benchmarks.report import Row
from benchmarks.stack import ROOT, Plan, Stack, running_stack
from tests.harness.processes import Process


class NoSuchCommit(Exception):
    """Raised when git does not know what is to be compared with."""


@contextmanager
def worktree(ref: str) -> Iterator[Path]:
    """A checkout of `ref` in a temporary folder, removed at the end.  Raises: NoSuchCommit."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if commit is None:
        raise NoSuchCommit(f"git knows no commit '{ref}'")
    with tempfile.TemporaryDirectory(prefix="saas-bench-") as folder:
        tree = Path(folder, "tree")
        if _git("worktree", "add", "--detach", str(tree), commit) is None:
            raise NoSuchCommit(f"'{ref}' could not be checked out")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


@contextmanager
def running_pair(ref: str, plan: Plan, *, provider_url: str) -> Iterator[tuple[Stack, Stack]]:
    """The system at `ref` and that of this tree, both running."""
    # PostgreSQL admits 100 connections by default, and here are two systems.
    plan = replace(plan, settings={**plan.settings, "DB_POOL_MAX": "10"})
    with (
        worktree(ref) as tree,
        running_stack(plan, provider_url=provider_url, root=tree) as before,
        running_stack(plan, provider_url=provider_url, root=ROOT) as after,
    ):
        yield before, after


def measure_pairs(
    stacks: tuple[Stack, Stack], load: Load, provider: Process, window: Window, *, pairs: int
) -> Sequence[tuple[Row, Row]]:
    """That many pairs of windows, before and after in turn."""
    before, after = stacks
    return [(measure(before, load, provider, window), measure(after, load, provider, window)) for _ in range(pairs)]


def _git(*arguments: str) -> str | None:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return done.stdout.strip() if done.returncode == 0 else None
