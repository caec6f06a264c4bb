"""What customers will do in a run: a function of the number of calls and the seed alone."""

import random
from dataclasses import dataclass, field

SLOW_MODEL = "fake-slow-2000"
SLOW_SHARE = 0.2
TEAMS = ("flat", "metered")


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A question, unlike any other, so that its answer is known by it."""

    text: str
    model: str | None


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job's calls, how it is asked for and how it is closed."""

    number: int
    # Which part of the run's calls were planned before it.
    progress: float
    team_id: str
    calls: list[PlannedCall] = field(default_factory=list)
    is_one_request: bool = False
    is_keyed: bool = False
    verdict: str = "completed"
    is_completed_twice: bool = False


def jobs_for(calls: int, *, seed: int) -> list[PlannedJob]:
    """Jobs of one to five calls, `calls` of them together."""
    draw = random.Random(seed)
    jobs: list[PlannedJob] = []
    planned = 0
    while planned < calls:
        size = min(draw.randint(1, 5), calls - planned)
        number = len(jobs)
        jobs.append(
            PlannedJob(
                number=number,
                progress=planned / calls,
                team_id=draw.choice(TEAMS),
                calls=[PlannedCall(f"Question {seed}-{number}-{index}", _model(draw)) for index in range(size)],
                is_one_request=size == 1 and draw.random() < 0.5,
                is_keyed=draw.random() < 0.5,
                verdict="failed" if draw.random() < 0.1 else "completed",
                is_completed_twice=draw.random() < 0.3,
            )
        )
        planned += size
    return jobs


def _model(draw: random.Random) -> str | None:
    return SLOW_MODEL if draw.random() < SLOW_SHARE else None
