"""Refused calls are kept, whatever refused them, and say under which id."""

import logging

from django.db import DatabaseError, InterfaceError, transaction

from apps.core import audit
from apps.core.errors import DomainError
from apps.limits import decisions, gate
from apps.limits.decisions import Refused
from apps.limits.gate import Passage
from apps.virtual_keys.services import Principal

log = logging.getLogger("saasllm.jobs")


def record_early(principal: Principal, error: DomainError, *, job_id: str = "", kind: str = "call.refused") -> None:
    """Keep a refusal that came before a call was looked at: of the team, of what its key may do, or of a job."""
    record(principal, error, Refused(job_id), gate.free(), kind=kind)


def record(
    principal: Principal, error: DomainError, refused: Refused, passage: Passage, *, kind: str = "call.refused"
) -> None:
    """Keep a refusal, in a transaction of its own. It stands also when it cannot be kept."""
    if error is passage.refusal:
        error.headers |= passage.headers
    limits = passage.described()
    if "limit" in error.details and all(state["verdict"] != "refused" for state in limits):
        # Credits, and what a job may use: no limits that anybody set on the way.
        limits.append({name: error.details.get(name) for name in gate.TOLD} | {"verdict": "refused"})
    try:
        with transaction.atomic():
            decision = decisions.record(principal, error, refused, limits=limits)
            audit.emit(
                kind,
                subject=f"job:{refused.job_id}"[:255] if refused.job_id else f"team:{principal.team.team_id}"[:255],
                organization_id=principal.organization.organization_id,
                team_id=principal.team.team_id,
                code=error.code,
                message=error.message,
                key_id=principal.key_id,
                **error.details,
            )
    except (DatabaseError, InterfaceError) as failure:
        log.warning("a refusal (%s) could not be recorded: %s", error.code, type(failure).__name__)
        return
    if decision is not None:
        error.details["decision_id"] = str(decision.pk)
