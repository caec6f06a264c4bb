"""Stripe over plain HTTPS: Checkout, off-session PaymentIntents, signed webhooks; without its SDK (docs/decisions).

Sources: docs.stripe.com/api, docs.stripe.com/webhooks#verify-manually. The secret key is in one header and in no
message; of Stripe's errors only their codes are logged or kept.
"""

import hashlib
import hmac
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import requests

from apps.core import clock
from apps.payments.errors import ProviderRejected, ProviderUnavailable, WebhookMalformed, WebhookSignatureInvalid
from apps.payments.interface import (
    ChargeRequest,
    ChargeResult,
    CheckoutRequest,
    Kind,
    PaymentEvent,
    ProviderCheckout,
)

# The webhook endpoint in Stripe's dashboard is made with the same version.
API_VERSION = "2025-03-31.basil"
TOLERANCE_S = 300
_TIMEOUT_S = (5.0, 25.0)
_RETRIABLE = frozenset({401, 403, 409, 429})
_NEEDS_PERSON = frozenset({"authentication_required", "authentication_not_handled"})

log = logging.getLogger("saasllm.payments")


class Stripe:
    """See `PaymentProvider`."""

    name = "stripe"

    def __init__(self, *, secret_key: str, webhook_secrets: Sequence[str], api_base: str) -> None:
        self._secret_key = secret_key
        self._webhook_secrets = webhook_secrets
        self._api_base = api_base.rstrip("/")

    def create_checkout(self, request: CheckoutRequest) -> ProviderCheckout:
        metadata = {"checkout_id": request.checkout} | ({"attempt_id": request.attempt} if request.attempt else {})
        payment: dict[str, Any] = {"metadata": metadata, "description": request.description}
        form: dict[str, Any] = {
            "mode": "payment",
            "client_reference_id": request.checkout,
            "metadata": metadata,
            "success_url": request.success_url,
            "cancel_url": request.cancel_url,
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": request.currency.lower(),
                        "unit_amount": request.amount_minor,
                        "product_data": {"name": request.description},
                    },
                }
            ],
            "payment_intent_data": payment,
        }
        if request.customer_id:
            form["customer"] = request.customer_id
        elif request.saves_method:
            form["customer_creation"] = "always"
        if request.saves_method:
            payment["setup_future_usage"] = "off_session"
        status, answer = self._post("/v1/checkout/sessions", form, key=request.key)
        session_id, url = answer.get("id"), answer.get("url")
        if status != 200 or not isinstance(session_id, str) or not isinstance(url, str):
            raise ProviderRejected(_error(answer).get("code") or "")
        return ProviderCheckout(session_id, url)

    def charge_off_session(self, request: ChargeRequest) -> ChargeResult:
        form = {
            "amount": request.amount_minor,
            "currency": request.currency.lower(),
            "customer": request.customer_id,
            "payment_method": request.method_id,
            "description": request.description,
            "off_session": "true",
            "confirm": "true",
            "metadata": {"attempt_id": request.attempt},
        }
        status, answer = self._post("/v1/payment_intents", form, key=request.key)
        if status != 200:
            error = _error(answer)
            payment_id = _text(_dict(error.get("payment_intent")).get("id"))
            code = _text(error.get("decline_code")) or _text(error.get("code")) or "declined"
            needs_person = not _NEEDS_PERSON.isdisjoint((code, _text(error.get("code"))))
            state = "requires_action" if needs_person else "declined"
            return ChargeResult(state=state, payment_id=payment_id, error_code=code)
        payment_id = _text(answer.get("id"))
        if answer.get("status") == "requires_action":
            return ChargeResult(state="requires_action", payment_id=payment_id, action_url=_action_url(answer))
        if answer.get("status") in ("succeeded", "processing", "requires_capture"):
            return ChargeResult(state="accepted", payment_id=payment_id)
        return ChargeResult(state="declined", payment_id=payment_id, error_code=_text(answer.get("status")))

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> PaymentEvent:
        require_signature(headers.get("Stripe-Signature", ""), body, self._webhook_secrets)
        try:
            event = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise WebhookMalformed from None
        if not isinstance(event, dict) or not _text(event.get("id")) or not _text(event.get("type")):
            raise WebhookMalformed
        # A test clock's payment must give nobody credits that are sold for money.
        if event.get("livemode") is False and "_live_" in self._secret_key:
            return PaymentEvent(id=event["id"], type=event["type"][:100], kind=Kind.IGNORED)
        return _event(event)

    def _post(self, path: str, form: Mapping[str, Any], *, key: str) -> tuple[int, dict[str, Any]]:
        """The status (200, or 4xx that is final) and the answer. Raises: ProviderUnavailable."""
        try:
            response = requests.post(
                f"{self._api_base}{path}",
                data=list(_flat(form)),
                headers={
                    "Authorization": f"Bearer {self._secret_key}",
                    "Stripe-Version": API_VERSION,
                    "Idempotency-Key": key,
                },
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
            answer = orjson.loads(response.content)
        except (requests.RequestException, orjson.JSONDecodeError) as error:
            log.warning("stripe %s: %s", path, type(error).__name__)
            raise ProviderUnavailable(retry_after_s=5) from None
        status = response.status_code
        if status != 200:
            code = _text(_error(_dict(answer)).get("code")) or _text(_error(_dict(answer)).get("type"))
            log.warning("stripe %s: status %s, %s", path, status, code)
        # A key that is refused is the operator's to mend; the request itself may still be made then.
        if status in _RETRIABLE or status >= 500 or 300 <= status < 400:
            raise ProviderUnavailable(retry_after_s=5)
        return status, _dict(answer)


def require_signature(header: str, body: bytes, secrets: Sequence[str]) -> None:
    """Raises: WebhookSignatureInvalid unless one of the secrets signed `t.body` within the last five minutes."""
    timestamps: list[str] = []
    given: list[str] = []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            timestamps.append(value)
        elif name == "v1":
            given.append(value)
    timestamp = timestamps[0] if len(timestamps) == 1 else ""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise WebhookSignatureInvalid
    signed = timestamp.encode() + b"." + body
    is_ours = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        for signature in given:
            is_ours |= hmac.compare_digest(expected.encode(), signature.encode())
    if not is_ours or abs(clock.now().timestamp() - int(timestamp)) > TOLERANCE_S:
        raise WebhookSignatureInvalid


def _event(event: dict[str, Any]) -> PaymentEvent:
    kind_of = _READERS.get(event["type"])
    subject = _dict(_dict(event.get("data")).get("object"))
    fields = kind_of(subject) if kind_of is not None else {"kind": Kind.IGNORED}
    return PaymentEvent(id=event["id"][:255], type=event["type"][:100], **fields)


def _session(subject: dict[str, Any]) -> dict[str, Any]:
    metadata = _dict(subject.get("metadata"))
    return {
        "session_id": _text(subject.get("id")),
        "payment_id": _text(subject.get("payment_intent")),
        "checkout": _text(metadata.get("checkout_id")),
        "attempt": _text(metadata.get("attempt_id")),
        "amount_minor": _amount(subject.get("amount_total")),
        "currency": _text(subject.get("currency")).upper(),
        "customer_id": _text(subject.get("customer")),
    }


def _session_completed(subject: dict[str, Any]) -> dict[str, Any]:
    # Unpaid: a method that takes days. `async_payment_succeeded` or `…_failed` follows.
    is_paid = subject.get("payment_status") == "paid"
    return _only_ours({"kind": Kind.PAID if is_paid else Kind.IGNORED, **_session(subject)})


def _session_ended(kind: Kind) -> Any:
    def read(subject: dict[str, Any]) -> dict[str, Any]:
        return _only_ours({"kind": kind, **_session(subject)})

    return read


def _intent(subject: dict[str, Any]) -> dict[str, Any]:
    metadata = _dict(subject.get("metadata"))
    error = _dict(subject.get("last_payment_error"))
    return {
        "payment_id": _text(subject.get("id")),
        "checkout": _text(metadata.get("checkout_id")),
        "attempt": _text(metadata.get("attempt_id")),
        "amount_minor": _amount(subject.get("amount_received") or subject.get("amount")),
        "currency": _text(subject.get("currency")).upper(),
        "customer_id": _text(subject.get("customer")),
        "method_id": _text(subject.get("payment_method")),
        "action_url": _action_url(subject),
        "error_code": _text(error.get("decline_code")) or _text(error.get("code")),
    }


def _intent_succeeded(subject: dict[str, Any]) -> dict[str, Any]:
    fields = _intent(subject)
    if fields["checkout"]:
        # Its session says that it is paid. This one knows the method, if the customer let it be saved.
        is_saved = subject.get("setup_future_usage") == "off_session"
        return {"kind": Kind.METHOD_SAVED if is_saved else Kind.IGNORED, **fields}
    return _only_ours({"kind": Kind.PAID, **fields})


def _intent_failed(subject: dict[str, Any]) -> dict[str, Any]:
    fields = _intent(subject)
    if fields["checkout"]:
        # On a page the customer tries again; the page's own end is what counts.
        return {"kind": Kind.IGNORED, **fields}
    codes = (_text(_dict(subject.get("last_payment_error")).get("code")), fields["error_code"])
    kind = Kind.FAILED if _NEEDS_PERSON.isdisjoint(codes) else Kind.REQUIRES_ACTION
    return _only_ours({"kind": kind, **fields})


def _intent_waits(subject: dict[str, Any]) -> dict[str, Any]:
    fields = _intent(subject)
    if fields["checkout"]:
        return {"kind": Kind.IGNORED, **fields}
    return _only_ours({"kind": Kind.REQUIRES_ACTION, **fields})


def _charge_refunded(subject: dict[str, Any]) -> dict[str, Any]:
    return _of_a_payment(
        {
            "kind": Kind.REFUNDED,
            "payment_id": _text(subject.get("payment_intent")),
            "amount_minor": _amount(subject.get("amount")),
            "currency": _text(subject.get("currency")).upper(),
            "refunded_minor": _amount(subject.get("amount_refunded")) or 0,
        }
    )


def _refund(subject: dict[str, Any]) -> dict[str, Any]:
    is_failed = subject.get("status") in ("failed", "canceled")
    return _of_a_payment(
        {
            "kind": Kind.REFUND_FAILED if is_failed else Kind.IGNORED,
            "payment_id": _text(subject.get("payment_intent")),
            "currency": _text(subject.get("currency")).upper(),
        }
    )


def _dispute(subject: dict[str, Any]) -> dict[str, Any]:
    status = _text(subject.get("status"))
    if status == "won":
        kind = Kind.DISPUTE_WON
    elif status == "lost":
        kind = Kind.DISPUTE_LOST
    else:
        # An inquiry (`warning_…`) has moved no money yet.
        kind = Kind.IGNORED if status.startswith("warning_") else Kind.DISPUTED
    return _of_a_payment(
        {
            "kind": kind,
            "payment_id": _text(subject.get("payment_intent")),
            "dispute_id": _text(subject.get("id")),
            "currency": _text(subject.get("currency")).upper(),
            "error_code": _text(subject.get("reason")),
        }
    )


def _of_a_payment(fields: dict[str, Any]) -> dict[str, Any]:
    return fields if fields["payment_id"] else fields | {"kind": Kind.IGNORED}


def _only_ours(fields: dict[str, Any]) -> dict[str, Any]:
    """The account may sell other things too: what names neither a checkout nor an attempt is none of ours."""
    return fields if fields["checkout"] or fields["attempt"] else fields | {"kind": Kind.IGNORED}


_READERS = {
    "checkout.session.completed": _session_completed,
    "checkout.session.async_payment_succeeded": _session_ended(Kind.PAID),
    "checkout.session.async_payment_failed": _session_ended(Kind.FAILED),
    "checkout.session.expired": _session_ended(Kind.EXPIRED),
    "payment_intent.succeeded": _intent_succeeded,
    "payment_intent.payment_failed": _intent_failed,
    "payment_intent.canceled": _intent_failed,
    "payment_intent.requires_action": _intent_waits,
    "charge.refunded": _charge_refunded,
    "refund.failed": _refund,
    "refund.updated": _refund,
    "charge.refund.updated": _refund,
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.funds_withdrawn": _dispute,
    "charge.dispute.closed": _dispute,
}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A nested form as Stripe takes it: a[b]=c, a[0][b]=c."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _flat(below, f"{name}[{key}]" if name else str(key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _flat(below, f"{name}[{number}]")
    else:
        yield name, str(value)


def _action_url(intent: dict[str, Any]) -> str:
    return _text(_dict(_dict(intent.get("next_action")).get("redirect_to_url")).get("url"), most=2048)


def _error(answer: dict[str, Any]) -> dict[str, Any]:
    return _dict(answer.get("error"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, *, most: int = 255) -> str:
    """Text that the database can hold; an expanded object counts by its id."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and len(value) <= most and "\x00" not in value else ""


def _amount(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15 else None
