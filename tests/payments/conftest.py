"""What the payment adapters talk to: processes of their own on 127.0.0.1, ended with the test or with us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from orders.payments.demo import DemoProvider
from orders.payments.stripe import StripeProvider
from tests.payments.call import call
from tests.payments.stripe_stand_in import API_KEY, StandIn
from vibecode.local import child, payments, ports
from vibecode.local.folder import REPOSITORY

SLOW, LATE = 1.6, 0.5  # seconds: what the demo provider's methods of those names take here


class Served:
    """A server process that can be killed and started again on its port."""

    def __init__(self, command: Callable[[int], Sequence[str]], ready: str, environment: dict[str, str] | None = None):
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command, self.ready = command(self.port), ready
        self.environment = {**os.environ, **(environment or {})}
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = child.start(
            self.command, output=subprocess.DEVNULL, environment=self.environment, folder=REPOSITORY
        )
        deadline = time.monotonic() + 20
        while not (ports.answers(self.port, self.ready) if self.ready else ports.connects("127.0.0.1", self.port)):
            assert self.process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(0.03)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait until it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(timeout=10)


class Demo(Served):
    """The demo provider, with an eye into its books."""

    def __init__(self, folder: Path) -> None:
        speed = ["--slow", str(SLOW), "--late", str(LATE)]
        super().__init__(lambda port: [*payments.command(port, folder / "books.sqlite3"), *speed], "/healthz")

    def books(self, reference: str) -> dict[str, Any]:
        """What the books say of one reference: its charges, refunds and the outcome of every attempt."""
        everything = call(self.url, "GET", "/books")[1]
        return {
            "charges": [c for c in everything["charges"] if c["reference"] == reference],
            "refunds": [r for r in everything["refunds"] if r["reference"] == reference],
            "attempts": [attempt["outcome"] for attempt in everything["attempts"].get(reference, [])],
        }

    def captured(self, reference: str) -> list[str]:
        """The amounts that were taken for a reference."""
        return [c["captured"] for c in self.books(reference)["charges"] if c["state"] == "captured"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo provider's server."""
    served = Demo(tmp_path_factory.mktemp("books"))
    yield served
    served.end()


@pytest.fixture
def shop(demo: Demo, settings: Settings) -> DemoProvider:
    """Our side of it, which does not wait long."""
    settings.PAYMENT_TIMEOUT_SECONDS = 1
    return DemoProvider(demo.url)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A Stripe of our own."""
    with StandIn() as stripe:
        yield stripe


@pytest.fixture
def our_stripe(stand_in: StandIn, settings: Settings) -> StripeProvider:
    """Our side of it, which does not wait long."""
    settings.PAYMENT_TIMEOUT_SECONDS = 1.5
    return StripeProvider(API_KEY, stand_in.url)


# localstripe listens on every interface, keeps a file in /tmp and knows an older API: brought to ours.
LOCALSTRIPE = """
import sys
from aiohttp import web
from localstripe import resources, server
resources.Store.dump_to_disk = lambda self: None
create = resources.PaymentIntent._api_create.__func__
def create_with_cards(cls, allowed_payment_method_types=None, **values):
    return create(cls, **values)
resources.PaymentIntent._api_create = classmethod(create_with_cards)
resources.PaymentIntent.amount_received = property(lambda self: self.amount if self.status == "succeeded" else 0)
web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


@pytest.fixture(scope="module")
def localstripe() -> Iterator[Served]:
    """Somebody else's Stripe."""
    served = Served(lambda port: [sys.executable, "-c", LOCALSTRIPE, str(port)], "")
    yield served
    served.end()
