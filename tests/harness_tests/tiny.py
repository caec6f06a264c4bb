"""The smallest web and Celery applications, to test how processes are started without the product."""

from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery

app = Celery("tiny", broker="memory://", broker_transport_options={"polling_interval": 0.02})


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    is_known = environ["PATH_INFO"] == "/health"
    start_response("200 OK" if is_known else "404 Not Found", [("content-type", "text/plain")])
    return [b"ok" if is_known else b"not here"]
