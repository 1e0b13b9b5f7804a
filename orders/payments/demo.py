"""The demo provider of local mode and tests, over HTTP. Its server is vibecode/local/payments.py."""

import http.client
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings

from orders.payments import Charge, Intent, PaymentError, RefundRefused
from orders.status import PaymentState

USUAL = "demo_ok"
# What each does stands in the server.
METHODS = frozenset({
    USUAL, "demo_decline", "demo_flaky", "demo_down", "demo_lost", "demo_slow", "demo_late", "demo_action",
})  # fmt: skip
STATE_OF = {
    "captured": PaymentState.CAPTURED,
    "voided": PaymentState.VOIDED,
    "requires_action": PaymentState.REQUIRES_ACTION,
    "declined": PaymentState.DECLINED,
    "pending": PaymentState.UNKNOWN,
}

type Answer = Mapping[str, Any]


class DemoProvider:
    """A Provider. Our reference is the idempotency key, so that a repeated capture finds the first charge."""

    name = "demo"

    def __init__(self, url: str) -> None:
        self.address = urlsplit(url)

    def method_for(self, wish: str) -> str | None:
        """One of its methods as it is; the usual one for "" (nothing named); None for every other."""
        return wish if wish in METHODS else USUAL if not wish else None

    def capture(self, intent: Intent) -> Charge:
        """Take the money, once for each reference. Raises PaymentError."""
        answer = self._ask(
            "POST",
            "/charges",
            {
                "reference": intent.reference,
                "amount": f"{intent.amount:.2f}",
                "currency": intent.currency,
                "method": intent.method,
            },
            key=intent.reference,
            expected=(201, 402, 409),
        )
        return _charge(answer)

    def look_up(self, intent: Intent) -> Charge:
        """What became of a reference. Raises PaymentError."""
        answer = self._ask("GET", f"/charges?reference={quote(intent.reference, safe='')}")
        known = {charge["status"]: charge for charge in reversed(answer["charges"])}
        if answer["voided"] and "captured" not in known:
            return Charge(PaymentState.VOIDED)
        return next((_charge(known[status]) for status in STATE_OF if status in known), Charge(PaymentState.INTENDED))

    def void(self, intent: Intent) -> Charge:
        """Make any later capture impossible; CAPTURED where there is one already. Raises PaymentError."""
        answer = self._ask("POST", "/voids", {"reference": intent.reference})
        return _charge(answer)

    def refund(self, intent: Intent, *, reference: str, amount: Decimal) -> str:
        """Give back ``amount``, once for each refund ``reference``. Raises PaymentError, RefundRefused."""
        answer = self._ask(
            "POST",
            "/refunds",
            {"reference": intent.reference, "amount": f"{amount:.2f}", "refund_reference": reference},
            key=reference,
            expected=(201, 409),
        )
        if "id" not in answer:
            raise RefundRefused(f"the demo provider: {answer['code']}")
        return str(answer["id"])

    def _ask(
        self, method: str, path: str, body: Answer | None = None, *, key: str = "", expected: tuple[int, ...] = (200,)
    ) -> Answer:
        """One request. PaymentError for a lost answer, a time-out, a refused connection, and an unexpected status."""
        connection = http.client.HTTPConnection(
            str(self.address.hostname), self.address.port or 80, timeout=settings.PAYMENT_TIMEOUT_SECONDS
        )
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        what = f"the demo provider's {method} {path.partition('?')[0]}"
        try:
            connection.request(method, self.address.path + path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            answer: Answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PaymentError(f"{what} gave no answer: {type(error).__name__}") from error
        finally:
            connection.close()
        if response.status not in expected:
            raise PaymentError(f"{what} answered {response.status} {answer.get('code', '')}".rstrip())
        return answer


def _charge(answer: Answer) -> Charge:
    """A charge as the provider writes it (a bare refusal too) in our words."""
    return Charge(
        state=STATE_OF[answer.get("status") or answer["code"]],
        provider_id=answer.get("id", ""),
        captured=Decimal(answer.get("captured", "0.00")),
        reason=answer.get("code", ""),
        client_secret=answer.get("client_secret", ""),
    )
