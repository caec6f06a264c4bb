"""Where a call goes whose route has no address of its own, and with whose key: looked up for each try.

So a key that is replaced or withdrawn counts from the next try on, and no queue or row of ours ever holds one.
"""

import logging

from django.db import DatabaseError, InterfaceError

from apps.catalog import credentials
from apps.catalog.models import ModelAlias
from apps.core.db import patiently, release_connection
from apps.jobs.gateway import failures
from apps.jobs.gateway.interface import Target
from apps.jobs.models import Call

log = logging.getLogger("saasllm.execution")


def of_call(call: Call, *, until: float) -> Target | None:
    """The target of the call's present model; None, without a query, for routes that know their own.

    While the database is away it is asked again, until that instant of the monotonic clock. The connection is given
    back.  Raises: GatewayError when there is no credential that can be used, or the database stays away.
    """
    if call.route != ModelAlias.Route.OPENAI:
        return None
    try:
        found = patiently(lambda: credentials.for_call(call.organization_id, call.provider), until=until)
    except (DatabaseError, InterfaceError) as error:
        log.warning("call %s: its credential could not be read: %s", call.pk, type(error).__name__)
        raise failures.unreachable() from None
    finally:
        release_connection()
    if found is None:
        log.warning("call %s: no credential for %s can be used", call.pk, call.model_used)
        raise failures.misconfigured()
    return Target(base_url=found.api_base, api_key=found.api_key)
