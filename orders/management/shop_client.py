"""A customer of the shop's API, as patient as a good one should be. Called by the command replay_orders."""

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from accounts.management.sign_in import Session, sign_in_or_up

MOST_TRIES = 12
FIRST_TRIES = 5  # of the very first call: a mistyped address should not take a minute
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LONGEST_WAIT = 120.0  # seconds that one Retry-After may ask for
AGAIN = frozenset({429, 502, 503, 504})  # and whatever else comes with a Retry-After


class Interrupted(Exception):
    """The replay was told to end."""


class ShopAway(Exception):
    """The shop does not answer, whatever our patience."""


class ShopClient:
    """Calls of many customers over one pool of connections, from several threads.

    Every write carries its Idempotency-Key through all of its tries, so that trying again is harmless.
    """

    def __init__(self, base_url: str, *, connections: int, stop: threading.Event) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request; the report does
        self.base = base_url.rstrip("/")
        self.stop = stop
        self.retries: Counter[str] = Counter()
        self._http = httpx.Client(
            timeout=httpx.Timeout(60, connect=5),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=urlsplit(base_url).hostname not in LOOPBACK,  # no proxy stands before this machine
        )
        self._patience = FIRST_TRIES
        self._sessions: dict[str, Session] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._pool = ("", "")

    def __enter__(self) -> Self:
        """Learn where to sign in. Raises ShopAway."""
        cognito = self._read("/api/v1/config")["cognito"]
        self._pool = (cognito["userPoolId"], cognito["clientId"])
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the connections."""
        self._http.close()

    def prices(self) -> dict[str, Decimal]:
        """What every product costs that is for sale, from all pages of the list."""
        prices: dict[str, Decimal] = {}
        page: str | None = "?pageSize=200"
        while page:
            body = self._read(f"/api/v1/products{page}")
            prices |= {product["sku"]: Decimal(product["price"]) for product in body["results"]}
            # The next page by its query alone: the shop may be known by another address than the one we call.
            page = f"?{urlsplit(body['next']).query}" if body["next"] else None
        return prices

    def _read(self, path: str) -> Any:
        response = self._answer("GET", path, {})
        if response.status_code != 200:
            raise ShopAway(f"{self.base}{path} answers {response.status_code}: it is no shop of ours, or in trouble.")
        return response.json()

    def post(self, path: str, body: Mapping[str, Any], *, customer: str, key: str) -> httpx.Response:
        """A customer's request. Raises ShopAway or SignInRefused."""
        for is_last in (False, True):
            token = self._session(customer).access_token
            response = self._answer("POST", path, {"Authorization": f"Bearer {token}", "Idempotency-Key": key}, body)
            if response.status_code != 401 or is_last:
                break
            self._sessions.pop(customer, None)  # it expired on the way, or was revoked: sign in again, once
        return response

    def _session(self, customer: str) -> Session:
        session = self._sessions.get(customer)
        if session is None or not session.is_fresh:
            with self._locks[customer]:
                session = self._sessions.get(customer)
                if session is None or not session.is_fresh:
                    pool_id, client_id = self._pool
                    session = sign_in_or_up(pool_id=pool_id, client_id=client_id, email=customer)
                    self._sessions[customer] = session
        return session

    def _answer(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """The answer, after as many tries as it takes and our patience allows.

        Once that was used up, one try is all that the others get until somebody is answered again.
        """
        response: httpx.Response | None = None
        reason = ""
        tries = 0
        while tries < self._patience:
            if self.stop.is_set():
                raise Interrupted
            try:
                response = self._http.request(method, self.base + path, headers=headers, json=body)
            except httpx.TransportError as error:
                response, reason = None, f"{error}" or type(error).__name__
                self.retries["no-answer"] += 1
                wait = min(8.0, 0.25 * 2**tries)
            else:
                self._patience = MOST_TRIES
                if response.status_code not in AGAIN and "Retry-After" not in response.headers:
                    return response
                self.retries[str(response.status_code)] += 1
                wait = _asked_for(response, tries)
            tries += 1
            if tries < self._patience and self.stop.wait(wait):
                raise Interrupted
        if response is None:
            self._patience = 1
            raise ShopAway(f"{self.base} does not answer: {reason}.")
        return response


def _asked_for(response: httpx.Response, tries: int) -> float:
    """The seconds in Retry-After; where there is none, more from try to try."""
    asked = response.headers.get("Retry-After", "")
    return min(LONGEST_WAIT, float(asked)) if asked.isdecimal() else min(8.0, 0.25 * 2**tries)
