"""Whether the process lives and can do its work. No credentials."""

from apps.openapi.answers.health import Health, Readiness
from apps.openapi.operation import Operation

TAG = "Health"

OPERATIONS = {
    "GET /health": Operation("Tell that the process lives", answer=Health),
    "GET /livez": Operation("Tell that the process lives", answer=Health),
    "GET /readyz": Operation("Tell whether the process can do its work", answer=Readiness, unready=Readiness),
}
