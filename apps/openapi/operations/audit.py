"""Who did what, and who was refused what."""

from apps.openapi import parameters
from apps.openapi.answers.people import AuditEntries, AuditEntry
from apps.openapi.operation import Operation

TAG = "Audit log"

OPERATIONS = {
    "GET /api/audit": Operation(
        "List audit entries",
        answer=AuditEntries,
        query=(
            parameters.text("actor", "Whose: `kind:name`, or an operator's e-mail.", example="ada@example.com"),
            parameters.text("action", "An action, or with a dot at its end all of one kind.", example="team.status"),
            parameters.text("object_kind", "What kind of object it is about.", example="team"),
            parameters.text("object_id", "Which object it is about."),
            parameters.ORGANIZATION_ID,
            parameters.text("address", "The network address that it came from.", example="192.0.2.7"),
            parameters.flag("refused", "Only what was refused, or only what was done."),
            *parameters.SPAN,
            *parameters.page(50),
        ),
        errors=(404,),
    ),
    "GET /api/audit/{audit_id}": Operation("Show an audit entry", answer=AuditEntry),
}
