"""Rules of jobs and calls that a request can break, and how a call can fail."""

from collections.abc import Callable
from typing import Any

from apps.core.errors import InvalidRequest, NotAllowed, NotFound, Unavailable


class JobNotFound(NotFound):
    """Raised when the team has no such job, whoever else may have it."""

    code = "job_not_found"
    message = "Job not found"


class CallNotFound(NotFound):
    """Raised when the job has no such call."""

    code = "call_not_found"
    message = "Call not found"


class JobClosed(InvalidRequest):
    """Raised when a call or a change is asked of a job that has ended."""

    code = "job_closed"


class TooManyCalls(InvalidRequest):
    """Raised when a job has as many calls as one may have."""

    code = "too_many_calls"


class JobDeadlinePassed(InvalidRequest):
    """Raised when a call is asked of a job whose deadline has passed."""

    code = "job_deadline_passed"


class JobCapReached(NotAllowed):
    """Raised when a call would make its job hold more than its ceiling, or the job is paused at it.

    `needed` tells what the job would have to hold with the call; `pauses`: the job is to be paused for it.
    """

    code = "job_cap_reached"
    needed: Callable[[Any], int] | None = None
    pauses = False


class CeilingTooLow(InvalidRequest):
    """Raised when a job's ceiling is to be lower than what it used and what its open calls may use."""

    code = "max_credits_too_low"


class JobCostCap(NotAllowed):
    """Raised when a job's calls may come to more than its price covers; nothing is held for the refused one."""

    code = "job_cost_cap"
    message = (
        "The job's price does not cover this call: its calls may come to more than one job may use. Ask for fewer"
        " tokens, complete the job, or go on in another."
    )


class ServerBusy(Unavailable):
    """Raised when as many callers wait as this process lets wait; nothing was written."""

    code = "server_busy"
    message = "Too many calls are waiting on this server. Try again shortly."


class CallStillRunning(Unavailable):
    """Raised when the wait ended before the call: it goes on, and its URL has the answer later."""

    code = "call_still_running"
