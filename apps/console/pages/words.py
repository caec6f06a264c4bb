"""What the console's words mean, and who may do what: pages that are only read."""

from typing import Any

from apps.console.pages.base import Page
from apps.organizations import rights

TERMS = (
    ("organization", "A customer: people, teams and a pool of credits that belong together."),
    ("team", "Holds keys and a wallet of credits. Jobs are made and charged by a team."),
    ("key", "A secret with which a customer's program calls. It is shown once, when it is issued."),
    ("job", "One piece of work for an end customer, of one or more calls. It is charged once, when it is completed."),
    ("call", "One request to a model, within a job."),
    (
        "attempt",
        "One try to have a provider answer a call. A call may need several.",
    ),
    ("alias", "The name by which customers ask for a model; it stands for a provider's model."),
    ("credit", "What customers buy and jobs cost."),
    ("grant", "Credits given to a team, also called a lot: paid, promotional or by subscription. It may expire."),
    ("hold", "Credits set aside for a running job, so that its price can surely be charged. What is left returns."),
    ("posted, held, available", "What is in the wallet; what of it is set aside; what can be spent: the difference."),
    ("charge", "The credits that a completed job took from a wallet."),
    ("refund", "Credits of a job's charge, given back."),
    ("reverse", "Undo one entry of the ledger by another one that names it. Nothing is ever deleted."),
    ("adjust", "Take credits away by hand, with a reason."),
    ("price", "What a provider takes for a model's tokens."),
    ("rate card", "What a job of a type costs a customer in credits."),
    ("refusal", "A call that was not made, for want of credits, by a limit or a rule; its decision says why."),
    ("operator", "Somebody of ours who uses this console, with one role."),
    ("member", "Somebody of a customer's who belongs to an organization."),
    ("end customer", "Whom our customer works for; named by the customer with each job."),
    ("margin", "Revenue less what providers took."),
)


class Glossary(Page):
    template_name = "console/pages/glossary.html"
    title = "Glossary"

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        return {"terms": TERMS}


class Rights(Page):
    """The one table by which the console and the API judge."""

    template_name = "console/pages/rights.html"
    title = "Rights"

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        return {
            "roles": list(rights.Role),
            "rows": [
                (
                    right.value,
                    rights.MEANING[right],
                    [
                        (rights.level(role, right).value, rights.LIMITED.get((right, role), ""))
                        for role in rights.Role
                    ],
                )
                for right in rights.Right
            ],
        }
