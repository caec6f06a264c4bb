"""A call's way past its limits, before it is admitted: what is known of it by then."""

from typing import Any

from apps.core import admission_switch
from apps.core.errors import DomainError
from apps.jobs import admission, bounds
from apps.jobs.admission import CallRequest
from apps.jobs.models import Job
from apps.limits import gate, index
from apps.limits.gate import Passage
from apps.virtual_keys.services import Principal


def enter(principal: Principal, request: CallRequest, *, job_id: Any = None, user_id: str = "") -> Passage:
    """Take the call's rates, once it is known which limits it meets. See `gate.enter`.

    What its admission will refuse anyway takes nothing. Raises: AdmissionPaused, for every call alike.
    """
    admission_switch.require_open()
    limits = index.current()
    if not limits.concerns(principal):
        return gate.free()
    try:
        model = admission.model_for(principal.team, principal, request)
    except DomainError:
        return gate.free()
    if job_id is not None and principal.team.team_id in limits.teams_with_users:
        user_id = (
            Job.objects.for_team(principal.team).filter(pk=job_id).values_list("user_id", flat=True).first() or ""
        )
    return gate.enter(
        principal, model=model.asked, user_id=user_id, tokens=bounds.expected_tokens(request.body, model)
    )
