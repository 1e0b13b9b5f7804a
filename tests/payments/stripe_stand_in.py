"""A Stripe of our own for tests: the calls that we make, by Stripe's documented rules, over real HTTP.

Idempotency keys keep the first answer whatever it was (https://docs.stripe.com/api/idempotent_requests), PaymentIntents
move along their states (https://docs.stripe.com/payments/paymentintents/lifecycle), test ids of payment methods decide
what the bank says (https://docs.stripe.com/testing). A test may break the next answers of one call.
Longer than other files: it is one server, to be held against Stripe's pages in one go.
"""

import copy
import itertools
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

API_KEY = "sk_test_StandIn"
OPEN = {"requires_payment_method", "requires_confirmation", "requires_action"}

type Values = dict[str, Any]


@dataclass
class StripeSays(Exception):
    """An answer that is an error."""

    status: int
    code: str
    kind: str = "invalid_request_error"
    more: Values = field(default_factory=dict)
    kept: bool = True  # under the idempotency key: only what an endpoint itself answered

    @property
    def body(self) -> Values:
        """As Stripe writes it."""
        return {"error": {"type": self.kind, "code": self.code, "message": f"In words: {self.code}.", **self.more}}


def unexpected_state(intent: Values) -> StripeSays:
    """The PaymentIntent is not where this could be done; it comes with the error."""
    return StripeSays(400, "payment_intent_unexpected_state", more={"payment_intent": intent})


class StandIn:
    """The server and what it knows. ``broken`` maps a call to how its next answers fail."""

    def __init__(self) -> None:
        self.intents: dict[str, Values] = {}
        self.refunds: dict[str, Values] = {}
        self.kept: dict[str, tuple[str, Values, int, Values]] = {}
        self.indexed: set[str] = set()  # what a search can find
        self.broken: dict[str, deque[str]] = {}
        self.calls: Counter[str] = Counter()
        self.turn = threading.RLock()
        self.ids = itertools.count(1)
        self.server = Server(("127.0.0.1", 0), type("Bound", (Door,), {"stripe": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    # --- what a test does to it -----------------------------------------------------------------------------
    def breaks(self, call: str, *how: str) -> None:
        """How the next answers of one call (``create``, ``confirm``, ``cancel``, ``refund``) fail.

        ``lost``: done, and the connection ends without an answer. ``slow``: done, and the answer takes too long.
        ``html``: done, and a proxy answers 502. ``done-500``: done, and a 500 is answered and kept. ``500``: not done,
        and kept. ``429`` and ``409``: not done, not kept.
        """
        self.broken[call] = deque(how)

    def a_day_later(self) -> None:
        """Keys are forgotten, and searches find everything."""
        self.kept.clear()
        self.indexed.update(self.intents)

    def answer_the_bank(self, made: str, *, well: bool = True) -> None:
        """What the customer does in the browser with the client secret."""
        intent = self.intents[made]
        assert intent["status"] == "requires_action"
        if well:
            self._succeed(intent)
        else:
            self._fail(intent, "payment_intent_authentication_failure", "")

    def of(self, reference: str) -> list[Values]:
        """The PaymentIntents of one of our references."""
        return [intent for intent in self.intents.values() if intent["metadata"].get("reference") == reference]

    def taken(self, reference: str) -> list[int]:
        """What was captured for a reference, in minor units."""
        return [intent["amount_received"] for intent in self.of(reference) if intent["status"] == "succeeded"]

    # --- what it does ---------------------------------------------------------------------------------------
    def answer(self, method: str, path: str, values: Values, key: str) -> tuple[int, Values, Mapping[str, str], str]:
        """Status, body, headers, and how the answer fails on its way."""
        with self.turn:
            try:
                name, carry_out = self.do(method, path, values)
            except StripeSays as says:
                return says.status, says.body, {}, ""
            self.calls[name] += 1
            how = queue.popleft() if (queue := self.broken.get(name)) else ""
            if key in self.kept:
                first_path, first_values, status, body = self.kept[key]
                if (first_path, first_values) != (path, values):
                    return 400, StripeSays(400, "idempotency_key_reused", "idempotency_error").body, {}, how
                return status, body, {"Idempotent-Replayed": "true"}, how
            status, body, kept = self._carry_out(carry_out, how)
            if key and kept:
                self.kept[key] = path, values, status, body
            return status, body, {}, how

    def _carry_out(self, action: Callable[[], Values], how: str) -> tuple[int, Values, bool]:
        """Status, body, and whether the key keeps them."""
        if how in {"429", "409"}:
            return (
                int(how),
                StripeSays(int(how), {"429": "rate_limit", "409": "idempotency_key_in_use"}[how]).body,
                False,
            )
        if how == "500":
            return 500, StripeSays(500, "", "api_error").body, True
        try:
            status, body, kept = 200, action(), True
        except StripeSays as says:
            status, body, kept = says.status, says.body, says.kept
        if how == "done-500":
            return 500, StripeSays(500, "", "api_error").body, True
        return status, copy.deepcopy(body), kept

    def do(self, method: str, path: str, values: Values) -> tuple[str, Callable[[], Values]]:
        """The name of a call and what carries it out."""
        match method, path.removeprefix("/v1/").split("/"):
            case "POST", ["payment_intents"]:
                return "create", lambda: self._create(values)
            case "GET", ["payment_intents", "search"]:
                return "search", lambda: self._search(values)
            case "GET", ["payment_intents", made]:
                return "retrieve", lambda: self._intent(made)
            case "POST", ["payment_intents", made, "confirm"]:
                return "confirm", lambda: self._confirm(self._intent(made))
            case "POST", ["payment_intents", made, "cancel"]:
                return "cancel", lambda: self._cancel(self._intent(made))
            case "POST", ["refunds"]:
                return "refund", lambda: self._refund(values)
            case "GET", ["refunds"]:
                return "list", lambda: self._list_refunds(values)
        raise StripeSays(404, "url_invalid", kept=False)

    def _create(self, values: Values) -> Values:
        if "payment_method_types" in values:
            raise StripeSays(400, "payment_method_types_no_longer_supported")
        unknown = values.keys() - {
            "amount", "currency", "payment_method", "allowed_payment_method_types", "metadata",
        }  # fmt: skip
        if unknown or not {"amount", "currency"} <= values.keys() or values["currency"] != values["currency"].lower():
            raise StripeSays(400, "parameter_unknown" if unknown else "parameter_missing", kept=False)
        if int(values["amount"]) < 30:
            raise StripeSays(400, "amount_too_small", more={"param": "amount"})
        if values["payment_method"] == "pm_card_missing":
            raise StripeSays(400, "resource_missing", more={"param": "payment_method"})
        made = f"pi_{next(self.ids)}"
        self.intents[made] = {
            "id": made,
            "object": "payment_intent",
            "amount": int(values["amount"]),
            "amount_received": 0,
            "client_secret": f"{made}_secret_{next(self.ids)}",
            "currency": values["currency"],
            "last_payment_error": None,
            "metadata": values.get("metadata", {}),
            "payment_method": values["payment_method"],
            "status": "requires_confirmation",
        }
        return self.intents[made]

    def _confirm(self, intent: Values) -> Values:
        if intent["status"] != "requires_confirmation":
            raise unexpected_state(intent)
        match intent["payment_method"]:
            case "pm_card_authenticationRequired":
                intent.update(status="requires_action", next_action={"type": "use_stripe_sdk"})
            case "pm_card_chargeDeclinedInsufficientFunds":
                self._fail(intent, "card_declined", "insufficient_funds")
                more = {"decline_code": "insufficient_funds", "payment_intent": intent}
                raise StripeSays(402, "card_declined", "card_error", more)
            case "pm_card_slowBank":
                intent.update(status="processing")
            case _:
                self._succeed(intent)
        return intent

    def _cancel(self, intent: Values) -> Values:
        if intent["status"] not in OPEN:
            raise unexpected_state(intent)
        intent.update(status="canceled")
        return intent

    def _succeed(self, intent: Values) -> None:
        intent.update(status="succeeded", amount_received=intent["amount"])

    def _fail(self, intent: Values, code: str, decline_code: str) -> None:
        error = {"type": "card_error", "code": code} | ({"decline_code": decline_code} if decline_code else {})
        intent.update(status="requires_payment_method", payment_method=None, last_payment_error=error)

    def _intent(self, made: str) -> Values:
        if made not in self.intents:
            raise StripeSays(404, "resource_missing", more={"param": "intent"})
        return self.intents[made]

    def _search(self, values: Values) -> Values:
        reference = values["query"].removeprefix("metadata['reference']:'").removesuffix("'")
        found = [intent for intent in self.of(reference) if intent["id"] in self.indexed]
        return {"object": "search_result", "url": "/v1/payment_intents/search", "has_more": False, "data": found}

    def _refund(self, values: Values) -> Values:
        intent, amount = self._intent(values["payment_intent"]), int(values["amount"])
        if intent["status"] != "succeeded":
            raise unexpected_state(intent)
        given = sum(r["amount"] for r in self._refunds_of(intent["id"]) if r["status"] != "failed")
        if given == intent["amount_received"]:
            raise StripeSays(400, "charge_already_refunded")
        if amount > intent["amount_received"] - given:
            raise StripeSays(400, "amount_too_large", more={"param": "amount"})
        made = f"re_{next(self.ids)}"
        self.refunds[made] = {
            "id": made,
            "object": "refund",
            "amount": amount,
            "currency": intent["currency"],
            "metadata": values.get("metadata", {}),
            "payment_intent": intent["id"],
            "status": "succeeded",
        }
        return self.refunds[made]

    def _refunds_of(self, made: str) -> list[Values]:
        return [refund for refund in reversed(self.refunds.values()) if refund["payment_intent"] == made]

    def _list_refunds(self, values: Values) -> Values:
        refunds = self._refunds_of(self._intent(values["payment_intent"])["id"])
        after = values.get("starting_after")
        begin = [refund["id"] for refund in refunds].index(after) + 1 if after else 0
        page = refunds[begin : begin + min(int(values.get("limit", 10)), PAGE)]
        return {"object": "list", "url": "/v1/refunds", "has_more": begin + len(page) < len(refunds), "data": page}


TOO_LONG = 2.0  # seconds: longer than our side waits in tests
PAGE = 3  # smaller than Stripe's, so that paging is met


class Server(ThreadingHTTPServer):
    """Many callers at once."""

    daemon_threads = True
    request_queue_size = 128


class Door(BaseHTTPRequestHandler):
    """Stripe's HTTP: forms in, JSON out."""

    stripe: StandIn
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        """Read."""
        query = parse_qs(urlsplit(self.path).query)
        self._serve("GET", {name: values[0] for name, values in query.items()})

    def do_POST(self) -> None:
        """Do."""
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._serve("POST", unflatten(parse_qsl(form, keep_blank_values=True)))

    def _serve(self, method: str, values: Values) -> None:
        if self.headers.get("Authorization") != f"Bearer {API_KEY}":
            return self._send(401, StripeSays(401, "api_key_invalid").body)
        key = self.headers.get("Idempotency-Key", "")
        status, body, headers, how = self.stripe.answer(method, urlsplit(self.path).path, values, key)
        match how:
            case "lost":
                self.close_connection = True
            case "html":
                self._send(502, "<html>Bad gateway</html>")
            case _:
                time.sleep(TOO_LONG if how == "slow" else 0)
                self._send(status, body, headers)
        return None

    def _send(self, status: int, body: Values | str, headers: Mapping[str, str] | None = None) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Request-Id": f"req_{next(self.stripe.ids)}", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
        """Log nothing."""


def unflatten(pairs: list[tuple[str, str]]) -> Values:
    """``metadata[reference]=…`` as nested values; lists stay lists of their texts."""
    values: Values = {}
    for name, text in pairs:
        outer, _, inner = name.partition("[")
        if not inner:
            values[outer] = text
        else:
            values.setdefault(outer, {})[inner.removesuffix("]")] = text
    return values
