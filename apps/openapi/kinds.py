"""Kinds of values that answers are made of. Words come from the models that hold them, so that they cannot differ."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from apps.analytics.statement_files import PAYMENT_TYPES
from apps.catalog.models import GroupStatus as GroupStates
from apps.catalog.models import ModelAlias
from apps.catalog.price_models import PriceSource as PriceSources
from apps.credits.billing import BUDGET_MODES
from apps.credits.models import Account, Entry, Grant
from apps.jobs.models import Attempt, Call, Job
from apps.jobs.receipt_wire import TRANSACTION_TYPES
from apps.limits.models import Metric as Metrics
from apps.limits.models import Scope as Scopes
from apps.organizations.models import Organization
from apps.organizations.rights import Level, Right, Role
from apps.payments.models import Checkout, Dispute, TopUpAttempt, WebhookEvent
from apps.teams.models import Team


def one_of(words: Iterable[str]) -> Any:
    """Text that is one of these words."""
    return Annotated[str, WithJsonSchema({"type": "string", "enum": list(words)})]


Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Instant = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "description": "An instant in UTC (ISO 8601)."})
]
Exact = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^-?\d+(\.\d{1,6})?$",
            "description": "Credits as an exact decimal, with up to six places.",
        }
    ),
]
Credits = Annotated[int, Field(description="Whole credits, rounded down.")]
Usd = Annotated[float, Field(description="US dollars.")]
Minor = Annotated[int, Field(description="An amount in the currency's minor unit (cents).")]
Metadata = dict[str, Any]
Anything = Annotated[Any, WithJsonSchema({"description": "Any JSON."})]

AccountKind = one_of(kind for kind in Account.Kind.values if kind != Account.Kind.SYSTEM)
AliasStatus = one_of(ModelAlias.Status.values)
AttemptState = one_of(Attempt.State.values)
BudgetMode = one_of(BUDGET_MODES)
CallState = one_of(Call.State.values)
OpenCallState = one_of((Call.State.QUEUED.value, Call.State.RUNNING.value))
UnsuccessfulCallState = one_of((Call.State.FAILED.value, Call.State.CANCELLED.value, Call.State.EXPIRED.value))
ChargeState = one_of(Job.ChargeState.values)
CheckoutState = one_of(Checkout.State.values)
DisputeState = one_of(Dispute.State.values)
EntryKind = one_of(Entry.Kind.values)
GroupStatus = one_of(GroupStates.values)
# A paused job is in progress to whoever asks.
JobStatus = one_of(status for status in Job.Status.values if status != Job.Status.PAUSED)
HeldLevel = one_of(level for level in Level if level != Level.NONE)
KeyStatus = one_of(("active", "expired", "revoked"))
LotKind = one_of(Grant.Kind.values)
Metric = one_of(Metrics.values)
OnCap = one_of(Job.OnCap.values)
OperatorRight = one_of(Right)
OperatorRole = one_of(Role)
OrganizationStatus = one_of(Organization.Status.values)
PriceSource = one_of(PriceSources.values)
Route = one_of(ModelAlias.Route.values)
Scope = one_of(Scopes.values)
TeamStatus = one_of(Team.Status.values)
TopUpState = one_of(TopUpAttempt.State.values)
TransactionType = one_of(sorted({*TRANSACTION_TYPES.values(), *PAYMENT_TYPES.values()}))
WebhookOutcome = one_of([*WebhookEvent.Outcome.values, "repeated"])
