"""The whole shop as `make run` starts it, in a folder of its own, for journeys and for killing. Every process is real.

`python -m tests.whole_shop FOLDER` runs it; the fixture ``whole_shop`` starts that and speaks with it from outside.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from tests.plain import PLAIN
from vibecode.local.folder import REPOSITORY, LocalFolder, read_json
from vibecode.local.guard import Guard
from vibecode.local.names import CLIENT_ID, DEMO_PASSWORD, POOL_ID, REGION
from vibecode.local.ports import free_port
from vibecode.local.shop import CARRIED
from vibecode.local.supervisor import supervise

# Sooner than on a laptop, so that what was interrupted is taken up again while a test waits.
HASTY = {
    "INBOX_LEASE_SECONDS": "8",
    "OUTBOX_LEASE_SECONDS": "5",
    "ORDER_STUCK_SECONDS": "10",
    "JOB_STUCK_SECONDS": "5",
    "REDELIVERY_SECONDS": "6",
    "DEMO_PAYMENTS_LAG": "10",  # later than the first retries: what must not be charged twice depends on its key
    "MAIL_OUTCOME_SECONDS": "40",
    "WEB_CONCURRENCY": "2",
}
OF_THE_RUN = ("AWS_", "PYTEST_", "COV_", "MAKELEVEL", "RUN_MAIN", "DJANGO_SETTINGS_MODULE")


def until[T](ask: Callable[[], T], seconds: float, what: str) -> T:
    """Ask again and again until the answer is true."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.1)
    return answer


class WholeShop:
    """A running shop, spoken with over its own ports alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = LocalFolder(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = folder.parent / "shop.log"
        self.guard = Guard()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **more: str) -> None:
        """Start it and wait until it is ready."""
        kept = {n: v for n, v in os.environ.items() if n not in CARRIED and not n.startswith(OF_THE_RUN)}
        environment = {**kept, **HASTY, **more, "PORT": str(self.port), "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "tests.whole_shop", str(self.folder.path)]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
        self.guard.watch(self.process.pid, signal.SIGTERM)
        until(self._is_ready, 120, "the whole shop starts")

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text()
        return f"ready {self.url}" in self.output.read_text()

    def stop(self) -> None:
        """Stop it, and everything in it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=60)
        self.guard.close()

    # --- looking into it ------------------------------------------------------------------------------------------
    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of its processes."""
        return {name: str(value) for name, value in read_json(self.folder.environment).items()}

    def pid(self, name: str) -> int:
        """The pid of one of its processes, as processes.json has it."""
        return int(read_json(self.folder.processes)[name]["pid"])

    def kill(self, name: str) -> None:
        """SIGKILL one of its processes; the supervisor starts it again."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(name), signal.SIGKILL)

    def returns(self, name: str) -> int:
        """How often the supervisor has said that this process is back."""
        return self.output.read_text().count(f"{name} is back")

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What its database says; waits while that is away."""
        for _ in range(100):
            try:
                with psycopg.connect(self.environment["DATABASE_URL"], row_factory=dict_row) as connection:
                    return connection.execute(query, values).fetchall()
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise AssertionError("the database of the whole shop does not come back")

    def manage(self, *words: str) -> str:
        """What a command of its manage.py prints; fails when the command does."""
        environment = {**os.environ, **self.environment, "DJANGO_SETTINGS_MODULE": "vibecode.settings"}
        command = [sys.executable, "-m", "django", *words]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def books(self) -> dict[str, Any]:
        """The payment provider's books."""
        answer: dict[str, Any] = _get(f"{self.environment['DEMO_PAYMENTS_URL']}/books")
        return answer

    def mails(self) -> list[dict[str, Any]]:
        """Every e-mail that SES took."""
        answer: list[dict[str, Any]] = _get(f"{self.environment['AWS_ENDPOINT_URL']}/_local/mail")
        return answer

    def facts_on_the_bus(self) -> list[dict[str, Any]]:
        """Every fact that the bus accepted."""
        answer: list[dict[str, Any]] = _get(f"{self.environment['AWS_ENDPOINT_URL']}/_local/events?last=100000")
        return answer

    def aws(self, service: str) -> Any:
        """A client of its local AWS."""
        return boto3.session.Session().client(
            service,  # type: ignore[call-overload]  # the tests name it
            region_name=REGION,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    # --- people ---------------------------------------------------------------------------------------------------
    def customer(self, email: str = "") -> "Customer":
        """Somebody who signs in; one of the demo users by their e-mail."""
        email = email or f"customer-{uuid.uuid4().hex[:12]}@example.com"
        cognito = self.aws("cognito-idp")
        with contextlib.suppress(cognito.exceptions.UsernameExistsException):
            cognito.admin_create_user(
                UserPoolId=POOL_ID,
                Username=email,
                MessageAction="SUPPRESS",
                UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
            )
            cognito.admin_set_user_password(UserPoolId=POOL_ID, Username=email, Password=DEMO_PASSWORD, Permanent=True)
        tokens = cognito.initiate_auth(
            ClientId=CLIENT_ID,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": email, "PASSWORD": DEMO_PASSWORD},
        )["AuthenticationResult"]
        customer = Customer(self, email, tokens["IdToken"])
        customer.ask("GET", "/me")
        return customer

    def product(self, *, on_hand: int) -> str:
        """The SKU of a new product on the shelf, made by staff through the API."""
        staff, sku = self.customer("staff@example.com"), f"WHOLE-{uuid.uuid4().hex[:10].upper()}"
        values = {"sku": sku, "name": "A lamp", "price": "2.50", "status": "published"}
        assert staff.ask("POST", "/products", values).status_code == 201
        added = staff.ask("POST", f"/products/{sku}/stock", {"delta": on_hand, "reason": "opening stock"})
        assert added.status_code in {200, 201}, added.text
        return sku


class Customer:
    """A client that does as clients should: one key for each wish, and again after every lost answer."""

    def __init__(self, shop: WholeShop, email: str, token: str) -> None:
        self.shop = shop
        self.email = email
        self.token = token

    def ask(self, method: str, path: str, body: Any = None, *, patience: float = 120) -> httpx.Response:
        """Send a request until it is answered for good."""
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": uuid.uuid4().hex}
        deadline = time.monotonic() + patience
        while True:
            with contextlib.suppress(httpx.TransportError):
                address = f"{self.shop.url}/api/v1{path}"
                answer = httpx.request(method, address, json=body, headers=headers, timeout=20, **PLAIN)
                if answer.status_code != 503 and answer.json().get("code") != "in-progress":
                    return answer
            assert time.monotonic() < deadline, f"no answer to {method} {path}"
            time.sleep(0.1)

    def order(self, sku: str, method: str, quantity: int = 1) -> str:
        """Place an order; its number."""
        body = {"items": [{"sku": sku, "quantity": quantity}], "paymentMethod": method}
        answer = self.ask("POST", "/orders", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["orderId"])

    def look(self, number: str) -> dict[str, Any]:
        """An order as its owner sees it."""
        answer: dict[str, Any] = self.ask("GET", f"/orders/{number}").json()
        return answer

    def wait_for(self, number: str, *statuses: str, seconds: float) -> dict[str, Any]:
        """The order, once it has one of these statuses."""
        order: dict[str, Any] = {}

        def arrived() -> bool:
            order.update(self.look(number))
            return order["status"] in statuses

        until(arrived, seconds, f"{number} becomes {' or '.join(statuses)}")
        return order


class Listener:
    """A customer's browser: connects with a ticket, and again whenever the connection is gone."""

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.heard: list[list[dict[str, Any]]] = []  # by connection
        self.connected = threading.Event()
        self.refusals: list[str] = []  # why it had to knock again
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def news(self, number: str) -> list[dict[str, Any]]:
        """All that was heard of an order."""
        return [news for heard in list(self.heard) for news in list(heard) if news["orderId"] == number]

    def close(self) -> None:
        """Hang up."""
        self._done.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                ticket = self.customer.ask("POST", "/me/websocket-tickets").json()["ticket"]
                address = f"{self.customer.shop.environment['WEBSOCKET_URL']}?token={ticket}"
                with connect(address, open_timeout=5, close_timeout=1, proxy=None) as socket:
                    self.heard.append([])
                    self.connected.set()
                    self._listen(socket)
            except (OSError, ConnectionClosed, InvalidHandshake, KeyError, ValueError) as error:
                self.refusals.append(f"{time.strftime('%H:%M:%S')} {error!r}")
                time.sleep(0.2)

    def _listen(self, socket: Any) -> None:
        while not self._done.is_set():
            with contextlib.suppress(TimeoutError):
                self.heard[-1].append(json.loads(socket.recv(timeout=0.3)))


class Killer(threading.Thread):
    """SIGKILLs these processes at random moments until told to stop: one to three of them, then waits for their return.

    Waiting is what makes a slow machine's run as fair as a quick one's: whatever died, there comes a time of work.
    """

    def __init__(
        self, shop: WholeShop, names: tuple[str, ...], chance: random.Random, pause: tuple[float, float]
    ) -> None:
        super().__init__(daemon=True)
        self.shop, self.names, self.chance, self.pause = shop, names, chance, pause
        self.done = threading.Event()
        self.kills: list[str] = []

    def run(self) -> None:
        """Kill until done, round after round, each round in another order."""
        waiting: list[str] = []
        while not self.done.wait(self.chance.uniform(*self.pause)):
            waiting = waiting or self.chance.sample(self.names, len(self.names))
            many = self.chance.randint(1, 3)
            self._kill(waiting[:many])
            waiting = waiting[many:]

    def _kill(self, names: list[str]) -> None:
        returns = {name: self.shop.returns(name) for name in names}
        for name in names:
            self.shop.kill(name)
            self.kills.append(name)
            self.done.wait(self.chance.uniform(0, 1))
        until(lambda: all(self.shop.returns(name) > times for name, times in returns.items()), 120, "all are back")


def _get(address: str) -> Any:
    for _ in range(100):
        try:
            return httpx.get(address, timeout=20, **PLAIN).json()
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not come back")


@pytest.fixture(scope="session")
def whole_shop() -> Iterator[WholeShop]:
    """The whole shop of the run."""
    with tempfile.TemporaryDirectory(prefix="vibecode-whole-") as folder:
        shop = WholeShop(Path(folder) / "local")
        try:
            shop.start()
            yield shop
        finally:
            shop.stop()


if __name__ == "__main__":
    os._exit(supervise(LocalFolder(Path(sys.argv[1]))))
