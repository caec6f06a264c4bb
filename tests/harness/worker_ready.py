"""Says on standard error that a Celery worker consumes. Loaded into it by `--include`.

The worker's own "ready" line depends on log levels, and at a level that shows it each task is logged too.
"""

import os
from typing import Any

from celery.signals import worker_ready

LINE = "harness: worker is ready"


def say_ready(**_: Any) -> None:
    # Past Celery's redirection of sys.stderr into its log.
    os.write(2, f"{LINE}\n".encode())


worker_ready.connect(say_ready)
