"""Answers as Pydantic models, without asyncio: whole, and as they are written."""

import os
from typing import Literal

from pydantic import BaseModel, Field
from typed_client import SyncSaaSLLMClient


class Ticket(BaseModel):
    """What the support team wants to know of a mail."""

    subject: str = Field(min_length=1, max_length=80)
    urgency: Literal["low", "normal", "high"]
    products: list[str]
    customer_number: int | None = None


MAIL = "Since this morning both the scanner and the label printer are dead. We ship at noon! Customer 4711."
QUESTION = [
    {"role": "system", "content": "Make a ticket of the customer's mail."},
    {"role": "user", "content": MAIL},
]


def main() -> None:
    with SyncSaaSLLMClient(
        base_url="http://localhost:8003",
        team_id=os.environ["SAAS_LITELLM_TEAM_ID"],
        virtual_key=os.environ["SAAS_LITELLM_VIRTUAL_KEY"],
    ) as client:
        with client.job("ticket") as job:
            ticket = client.structured_output(job.job_id, QUESTION, Ticket, temperature=0)
            print(f"Urgency: {ticket.urgency}")
            print(f"Subject: {ticket.subject}")

            print("The same as a stream: ", end="")
            text = ""
            for piece in client.structured_output_stream(job.job_id, QUESTION, Ticket, temperature=0):
                print(piece, end="", flush=True)
                text += piece
            again = Ticket.model_validate_json(text)
            job.result = again.model_dump()

        print(f"\nCalls: {job.completion.total_calls}")
        print(f"Credits remaining: {job.completion.credits_remaining}")


if __name__ == "__main__":
    main()
