"""What is done with the deployed shop, step by step. Called by the rehearsal, which keeps the time and the verdicts."""

import json
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import psycopg
from psycopg import sql

from infrastructure.hand_over import Document
from infrastructure.rehearsal.account import APP, Account
from infrastructure.rehearsal.visitors import Desk, Listener, Person, Web, WentWrong, expect, wait_for
from vibecode.local.fleet import Fleet
from vibecode.local.parts import Parts
from vibecode.local.rest_gateway import Api, proxy_event
from vibecode.local.sandboxes import Sandbox
from vibecode.local.web_server import Asked

COLD_STARTS = 5  # sandboxes measured
WARM = 10  # requests of each after its first
MEGABYTE = 1024 * 1024

type Step = tuple[str, Callable[[], object]]


class ZappaCommand(Protocol):
    """`zappa` with the stage's settings."""

    def take(self, document: Document) -> None:
        """Complete the settings by a hand-over."""

    def run(self, *words: str) -> str:
        """What the command printed."""


@dataclass(frozen=True)
class Engines:
    """What the stage runs on, to be taken away for a while."""

    parts: Parts

    def sleep(self, seconds: float) -> None:
        """PostgreSQL is away for so long, as an Aurora that was paused."""
        self.parts.stop("postgres")
        time.sleep(seconds)
        self.parts.start("postgres")


@dataclass
class Deployed:
    """The shop as Zappa has deployed it, and who visits it."""

    account: Account
    fleet: Fleet
    api: Api
    document: Document
    zappa: ZappaCommand
    engines: Engines
    public: Web  # behind the public origin
    bare: Web  # at API Gateway's own address
    first: Path
    second: Callable[[], Path]
    people: dict[str, Person] = field(default_factory=dict)
    sku: str = ""

    def operate(self, operation: str, **arguments: Any) -> Any:
        """An operation of the worker, as the engineer asks for it with Lambda's Invoke. Raises WentWrong."""
        answer = self.account.client("lambda").invoke(
            FunctionName=self.account.resources.worker,
            Payload=json.dumps({"operation": operation, "arguments": arguments}),
        )
        payload = json.loads(answer["Payload"].read())
        expect("FunctionError" not in answer, f"{operation}: {payload}")
        return payload


def journey(shop: Deployed, *, small: bool) -> Iterator[Step]:
    """Every step, in their order; a small one leaves out what waits and what measures."""
    yield "migrations, by the worker's operation", lambda: migrate(shop)
    yield "the first staff user signs in", lambda: make_staff(shop)
    yield "the catalogue, browsed", lambda: browse(shop)
    yield "an order until completed, pushed to its customer", lambda: order(shop)
    yield "the admin: sign-in, pages, styles", lambda: use_desk(shop, shop.public)
    yield "a picture, uploaded and shown", lambda: add_picture(shop)
    yield "API docs and description", lambda: read_docs(shop)
    yield "bad input through the gateway", lambda: misuse(shop)
    yield "the database's password is rotated", lambda: rotate(shop)
    if not small:
        yield "the database sleeps for 12 s: served", lambda: sleep(shop, 12)
        yield "the database sleeps for 60 s: 503 before 29 s", lambda: sleep(shop, 60)
    yield "zappa status", lambda: ask_status(shop)
    yield "a second release", lambda: release(shop)
    yield "zappa rollback", lambda: roll_back(shop)
    yield "at API Gateway's own address", lambda: go_bare(shop)
    yield "stock, ledger and orders agree", lambda: audit(shop)
    if not small:
        yield "cold starts", lambda: start_cold(shop)
    yield "zappa undeploy: nothing is left", lambda: undeploy(shop)


# --- the first day ---------------------------------------------------------------------------------------------------
def migrate(shop: Deployed) -> str:
    """The schema comes by an operation, and the shop is ready after it and not before."""
    before = shop.public.ask("GET", "/readyz")
    expect(before.status_code == 503, f"/readyz answers {before.status_code} without a schema")
    applied = shop.operate("migrate")["applied"]
    expect(applied and not shop.operate("migrate")["applied"], "a second migrate finds something to do")
    ready = shop.public.ask("GET", "/readyz")
    expect(ready.status_code == 200, ready.text)
    return f"{len(applied)} migrations"


def make_staff(shop: Deployed) -> None:
    """Made by an operation; the first sign-in shows who it is."""
    email = f"{uuid.uuid4().hex[:12]}@shop.example"
    expect(shop.operate("create-staff-user", email=email)["created"], "nobody was made")
    staff = shop.people["staff"] = Person(shop.account, shop.public, email)
    expect(staff.call("GET", "/me")["email"] == email, "the API takes them for somebody else")
    shop.people["customer"] = Person(shop.account, shop.public)


def browse(shop: Deployed) -> None:
    """Staff put a product on the shelf; strangers find it, with what a query may hold."""
    staff, shop.sku = shop.people["staff"], f"REHEARSAL-{uuid.uuid4().hex[:8].upper()}"
    name = "Lämp & 50% «off» + café"
    made = {"sku": shop.sku, "name": name, "price": "12.50", "status": "published"}
    location = staff.call("POST", "/products", made, status=201)
    expect(location["name"] == name, location)
    staff.call("POST", f"/products/{shop.sku}/stock", {"delta": 100, "reason": "opening stock"})
    found = shop.public.ask("GET", "/api/v1/products", params={"search": "Lämp & 50%", "pageSize": "1"})
    expect([row["sku"] for row in found.json()["results"]] == [shop.sku], found.text)
    one = shop.public.ask("GET", f"/api/v1/products/{shop.sku}")
    again = shop.public.ask("GET", f"/api/v1/products/{shop.sku}", headers={"If-None-Match": one.headers["ETag"]})
    expect((again.status_code, again.content) == (304, b""), f"{again.status_code} {again.text}")
    expect(shop.public.ask("HEAD", "/api/v1/products").content == b"", "HEAD has a body")


def order(shop: Deployed) -> str:
    """By the queues, the workflow and the websocket, all of them through the worker's one door."""
    customer = shop.people["customer"]
    with Listener(customer) as listener:
        key = uuid.uuid4().hex
        body = {"items": [{"sku": shop.sku, "quantity": 2}], "total": "25.00"}
        began = time.monotonic()
        placed = customer.call("POST", "/orders", body, status=201, Idempotency_Key=key)
        again = customer.call("POST", "/orders", body, status=201, Idempotency_Key=key)
        expect(again == placed, "the same key made another order")
        number = placed["orderId"]
        wait_for(lambda: customer.call("GET", f"/orders/{number}")["status"] == "completed", f"{number} completed")
        took = time.monotonic() - began
        wait_for(lambda: "completed" in listener.statuses(number), f"the push of {number}")
        versions = [news["version"] for news in listener.heard if news["orderId"] == number]
        expect(versions == sorted(versions), f"an older version came after a newer one: {versions}")
    facts = [fact["type"] for fact in customer.call("GET", f"/orders/{number}/timeline")["results"]]
    expect(facts[0] == "Order Created" and "Order Completed" in facts, facts)
    charged = [charge for charge in _books(shop)["charges"] if charge["reference"] == number]
    expect([charge["state"] for charge in charged] == ["captured"], charged)
    sent = wait_for(lambda: [mail for mail in _mails(shop) if customer.email in json.dumps(mail)], "the e-mail")
    return f"{took:.1f} s from the click, {len(sent)} e-mail"


def _books(shop: Deployed) -> Any:
    return _get(f"{shop.document['environment']['DEMO_PAYMENTS_URL']}/books")


def _mails(shop: Deployed) -> Any:
    return _get(f"{shop.account.endpoint}/_local/mail")


def _get(address: str) -> Any:
    return httpx.get(address, timeout=20, trust_env=False).json()


# --- staff -----------------------------------------------------------------------------------------------------------
def use_desk(shop: Deployed, web: Web) -> str:
    """Signed in by the form, with its token against forgery; every page with all of its files."""
    desk = Desk(web)
    desk.sign_in(shop.people["staff"].email)
    files: set[str] = set()
    for path in ("/admin/", "/admin/orders/order/", "/admin/catalog/product/", "/admin/accounts/user/"):
        files |= set(desk.open(path).files)
    expect(all("Secure" in str(cookie) or cookie.secure for cookie in web.http.cookies.jar), "a cookie is not Secure")
    return f"{len(files)} files"


def add_picture(shop: Deployed) -> None:
    """Through the admin's form, which the gateway carries as base64; shown under the public origin."""
    desk = Desk(shop.public)
    address = desk.add_picture(shop.sku)
    expect(address.startswith(f"{shop.public.base}/media/"), f"the picture is at {address}")
    shown = shop.public.follow("GET", address)
    expect(shown.status_code == 200 and shown.headers["Content-Type"] == "image/png", f"{shown.status_code}")
    expect(shown.content.startswith(b"\x89PNG"), "the picture came out as something else")


def read_docs(shop: Deployed) -> None:
    """The interactive page with its files, and the description."""
    desk = Desk(shop.public)
    desk.open("/api/docs")
    described = shop.public.ask("GET", "/api/schema", headers={"Accept": "application/json"})
    expect(described.status_code == 200 and "/api/v1/orders" in described.text, described.status_code)
    config = shop.public.ask("GET", "/api/v1/config").json()
    expect(config["apiUrl"].startswith(shop.public.base), config)


# --- trouble ---------------------------------------------------------------------------------------------------------
def misuse(shop: Deployed) -> str:
    """Limits are the gateway's own, all else is answered by the shop in its own form."""
    customer = shop.people["customer"]
    signed = {"Authorization": f"Bearer {customer.token}", "Content-Type": "application/json"}
    found = {
        "no JSON": shop.public.ask("POST", "/api/v1/orders", content=b"{", headers=signed).status_code,
        "2 MB": shop.public.ask("POST", "/api/v1/orders", content=_note(2), headers=signed).status_code,
        "5 MB": shop.public.ask("POST", "/api/v1/orders", content=_note(5), headers=signed).status_code,
        "11 MB": shop.public.ask("POST", "/api/v1/orders", content=_note(11), headers=signed).status_code,
        "unknown": shop.public.ask("GET", "/api/v1/nothing").status_code,
        "another stage": shop.bare.http.get(f"{shop.bare.at}/prod/healthz").status_code,
    }
    wanted = {"no JSON": 400, "2 MB": 413, "5 MB": 413, "11 MB": 413, "unknown": 404, "another stage": 403}
    expect(found == wanted, found)
    refused = shop.public.ask("GET", "/api/v1/orders")
    expect(refused.status_code == 401, refused.text)
    expect(refused.headers["Content-Type"] == "application/problem+json", refused.headers)
    expect(refused.headers.get("WWW-Authenticate", "").startswith("Bearer"), "the 401 lost its WWW-Authenticate")
    forged = shop.public.ask("GET", "/api/v1/products", headers={"X-Forwarded-For": "6.6.6.6"})
    expect(forged.status_code == 200, forged.text)
    lines = [
        json.loads(line) for line in shop.fleet.log(shop.account.resources.prefix).splitlines() if '"path"' in line
    ]
    expect(lines and "6.6.6.6" not in json.dumps(lines), "a forged address is believed")
    return ", ".join(f"{name} {status}" for name, status in found.items())


def _note(megabytes: int) -> bytes:
    return json.dumps({"note": "x" * megabytes * MEGABYTE}).encode()


def rotate(shop: Deployed) -> None:
    """The secret changes and every session ends between two requests: the next one is served."""
    environment = shop.document["environment"]
    expect(shop.public.ask("GET", "/api/v1/products").status_code == 200, "not served before")
    password = uuid.uuid4().hex
    with psycopg.connect(shop.engines.parts.environment["DATABASE_URL"], autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(APP), sql.Literal(password)))
        shop.account.client("secretsmanager").put_secret_value(
            SecretId=environment["DATABASE_SIGN_IN"],
            SecretString=json.dumps({"username": APP, "password": password}),
        )
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [APP])
    answer = shop.public.ask("GET", "/api/v1/products")
    expect(answer.status_code == 200, f"{answer.status_code} {answer.text}")


def sleep(shop: Deployed, seconds: float) -> str:
    """A request meets a database that resumes: waited for, or refused before the gateway loses its patience."""
    with ThreadPoolExecutor(1) as pool:
        asleep = pool.submit(shop.engines.sleep, seconds)
        wait_for(lambda: not _accepts(shop), "PostgreSQL to stop")
        began = time.monotonic()
        answer = shop.public.ask("GET", "/api/v1/products")
        took = time.monotonic() - began
        asleep.result()
    if seconds < 25:
        expect(answer.status_code == 200, f"{answer.status_code} after {took:.1f} s: {answer.text}")
    else:
        expect(answer.status_code == 503 and "Retry-After" in answer.headers, f"{answer.status_code} {answer.text}")
        expect(took < 29, f"it took {took:.1f} s")
        wait_for(lambda: shop.public.ask("GET", "/readyz").status_code == 200, "the shop to be back")
    return f"{answer.status_code} after {took:.1f} s"


def _accepts(shop: Deployed) -> bool:
    try:
        psycopg.connect(shop.engines.parts.environment["DATABASE_URL"], connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True


# --- releases --------------------------------------------------------------------------------------------------------
def ask_status(shop: Deployed) -> str:
    """As Zappa tells it."""
    told = json.loads(shop.zappa.run("status", shop.api.stage, "--json").partition("{")[2].join(["{", ""]))
    expect(told["Lambda Handler"] == "vibecode.lambda_entry.handler", told)
    expect(shop.api.id in told["API Gateway URL"], told)
    expect(told["Num. Event Rules"] == 0, "Zappa has events of its own")
    return f"{told['Lambda Versions']} versions, {told['Lambda Code Size'] / 1e6:.1f} MB"


def release(shop: Deployed) -> str:
    """Another package, put in the place of the first, while customers keep asking."""
    expect(_release(shop) == "first", f"the release is {_release(shop)}")
    archive = shop.second()
    asked = _while_asking(shop, lambda: _update(shop, archive))
    expect(_release(shop) == "second", f"the release is {_release(shop)}")
    return f"{asked} requests meanwhile, all answered"


def _update(shop: Deployed, archive: Path) -> None:
    for name in (f"{shop.api.stage}-worker", shop.api.stage):
        shop.zappa.run("update", name, "--zip", str(archive))


def roll_back(shop: Deployed) -> None:
    """The code of the version before, for both functions."""
    for name in (f"{shop.api.stage}-worker", shop.api.stage):
        shop.zappa.run("rollback", name, "--num-rollback", "1")
    expect(_release(shop) == "first", f"the release is {_release(shop)}")
    shop.people["customer"].call("GET", "/orders")


def _release(shop: Deployed) -> str:
    return str(shop.public.ask("GET", "/healthz").headers.get("X-Release"))


def _while_asking(shop: Deployed, work: Callable[[], object]) -> int:
    """Do it while somebody browses without a pause; how many answers there were. Raises WentWrong at a bad one."""
    with ThreadPoolExecutor(1) as pool:
        done, asked = pool.submit(work), 0
        while not done.done():
            answer = shop.public.ask("GET", "/api/v1/products")
            expect(answer.status_code == 200, f"{answer.status_code} during the update: {answer.text}")
            asked += 1
        done.result()
    return asked


def go_bare(shop: Deployed) -> str:
    """A stage without CloudFront: told its own address, it is right there too."""
    environment = {**shop.document["environment"], "PUBLIC_URL": f"https://{shop.api.host}/{shop.api.stage}"}
    del environment["MEDIA_URL"]
    shop.zappa.take({**shop.document, "environment": environment})
    shop.zappa.run("update", shop.api.stage, "--zip", str(shop.first))
    web, prefix = shop.bare, f"/{shop.api.stage}"
    sent_away = web.ask("GET", "/admin/")
    expect(sent_away.headers.get("Location") == f"{prefix}/admin/login/?next={prefix}/admin/", sent_away.headers)
    said = use_desk(shop, web)
    listed = web.ask("GET", "/api/v1/products", params={"pageSize": "1"}).json()
    expect(listed["results"], listed)
    customer = Person(shop.account, web)
    placed = web.ask(
        "POST",
        "/api/v1/orders",
        json={"items": [{"sku": shop.sku, "quantity": 1}]},
        headers={"Authorization": f"Bearer {customer.token}", "Idempotency-Key": uuid.uuid4().hex},
    )
    expect(placed.status_code == 201, placed.text)
    location = urlsplit(placed.headers["Location"])
    expect((location.netloc, location.path[:8]) == (shop.api.host, f"{prefix}/api"), placed.headers["Location"])
    number = placed.json()["orderId"]
    wait_for(lambda: customer.call("GET", f"/orders/{number}")["status"] == "completed", f"{number} completed")
    return said


def audit(shop: Deployed) -> None:
    """By the operations, as after any deploy."""
    found = shop.operate("audit")
    expect(found["agree"], found)
    shop.operate("sweep", dry_run=True)
    shop.operate("replay-events", unsettled=True, dry_run=True)


def start_cold(shop: Deployed) -> str:
    """The first request of a new sandbox and the ones after it, in AWS's runtime."""
    asked = Asked("GET", "", [("Host", shop.api.host)], b"", "203.0.113.7")
    event = proxy_event(shop.api, asked, "/api/v1/products", "pageSize=20")
    first: list[float] = []
    warm: list[float] = []
    function = shop.fleet.function(shop.account.resources.prefix)
    for _ in range(COLD_STARTS):
        sandbox = Sandbox(function, function.folder.with_suffix(".cold"))
        first.append(_seconds(sandbox, event))
        warm.append(statistics.median(_seconds(sandbox, event) for _ in range(WARM)))
        sandbox.end()
    return f"GET /products {statistics.median(first) * 1000:.0f} ms, warm {statistics.median(warm) * 1000:.1f} ms"


def _seconds(sandbox: Sandbox, event: Mapping[str, Any]) -> float:
    began = time.perf_counter()
    answer = sandbox.invoke(event)
    took = time.perf_counter() - began
    expect(answer.get("statusCode") == 200, answer)
    return took


def undeploy(shop: Deployed) -> None:
    """The stack after Zappa goes first, then both functions with all that Zappa made."""
    shop.account.separate()
    for name in (shop.api.stage, f"{shop.api.stage}-worker"):
        shop.zappa.run("undeploy", name, "--yes")
    left = shop.account.left_by_zappa()
    expect(not left, f"Zappa left {left}")
    gone = shop.public.ask("GET", "/healthz")
    expect(gone.status_code == 502, f"somebody still answers: {gone.status_code}")


__all__ = ["Deployed", "Engines", "WentWrong", "journey"]
