"""Where a running process spends its CPU, by py-spy if that is installed; it is no dependency of ours."""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.stack import Stack

_RATE_HZ = 100
_SHOWN = 60


class NoSampler(Exception):
    """Raised when py-spy is not installed, or cannot look into the process."""


@dataclass(slots=True)
class Sampler:
    """Samples one kind of process (`web` or `worker`) over each window."""

    target: str
    program: str
    samples: Counter[tuple[str, ...]] = field(default_factory=Counter)

    @contextmanager
    def sampling(self, stack: Stack, seconds: float) -> Iterator[None]:
        process = {"web": stack.web, "worker": stack.worker}[self.target]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "stacks")
            command = [self.program, "record", "--pid", str(process.pid), "--subprocesses", "--nonblocking"]
            # Whoever holds the interpreter's lock: by its other rule py-spy takes waiting threads for busy ones.
            command += ["--gil", "--rate", str(_RATE_HZ), "--duration", str(max(1, round(seconds)))]
            command += ["--function", "--format", "raw", "--output", str(path)]
            popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            yield
            said, _ = popen.communicate(timeout=60)
            if popen.returncode or not path.exists():
                raise NoSampler(f"py-spy ended with {popen.returncode}: {said}")
            self.samples += read_stacks(path.read_text())

    def table(self) -> str:
        return hot_functions(self.samples)


def sampler(target: str) -> Sampler:
    """Raises: NoSampler."""
    program = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if program is None:
        raise NoSampler(
            "py-spy is not installed (pip install py-spy). Without it, `python -m benchmarks.steps --profile` shows"
            " the same code under Python's own profiler."
        )
    return Sampler(target, program)


def read_stacks(text: str) -> Counter[tuple[str, ...]]:
    """Samples by stack, outermost function first, from lines of `frame;frame;frame COUNT`."""
    samples: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        stack_text, _, count = line.rpartition(" ")
        frames = tuple(frame for frame in stack_text.split(";") if not frame.startswith("process "))
        # A process's own title is printed raw, and some have line breaks.
        if frames and count.isdecimal():
            samples[frames] += int(count)
    return samples


def hot_functions(samples: Counter[tuple[str, ...]]) -> str:
    """The functions that most samples have on their stack, with the share where they are on top of it."""
    total = samples.total() or 1
    cumulative: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for frames, count in samples.items():
        # A function that calls itself is counted once a sample.
        for name in set(frames):
            cumulative[name] += count
        own[frames[-1]] += count
    shares = [(name, count / total, own[name] / total) for name, count in cumulative.most_common(_SHOWN)]
    return "\n".join(
        [
            "with callees  itself  function",
            *(f"{share:12.1%}  {itself:6.1%}  {name}" for name, share, itself in shares),
        ]
    )
