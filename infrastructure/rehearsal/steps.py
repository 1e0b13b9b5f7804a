"""What is done with the deployed shop on its first day, step by step: schema, people, catalogue, an order, the desk."""

import json
import time
import uuid
from typing import Any

import httpx

from infrastructure.rehearsal.deployed import Deployed
from infrastructure.rehearsal.visitors import Desk, Listener, Person, Web, expect, wait_for


def migrate(shop: Deployed) -> str:
    """The schema comes by an operation, and the shop is ready after it and not before."""
    before = shop.public.ask("GET", "/readyz")
    expect(before.status_code == 503, f"/readyz answers {before.status_code} without a schema")
    answer = shop.operate("migrate")
    applied = answer["applied"]
    while answer["left"]:
        answer = shop.operate("migrate")
        applied += answer["applied"]
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
    written = staff.ask("POST", "/products", made, status=201)
    expect(written.json()["name"] == name, written.text)
    expect(written.headers["Location"] == f"{shop.public.base}/api/v1/products/{shop.sku}", written.headers)
    staff.call("POST", f"/products/{shop.sku}/stock", {"delta": 1000, "reason": "opening stock"})
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
    expect(len(sent) == 1, f"{len(sent)} e-mails of one fact")
    return f"{took:.1f} s from the click"


def _books(shop: Deployed) -> Any:
    return _get(f"{shop.document['environment']['DEMO_PAYMENTS_URL']}/books")


def _mails(shop: Deployed) -> Any:
    return _get(f"{shop.account.endpoint}/_local/mail")


def _get(address: str) -> Any:
    return httpx.get(address, timeout=20, trust_env=False).json()


# --- staff -----------------------------------------------------------------------------------------------------------
def use_desk(shop: Deployed, web: Web) -> str:
    """Signed in by the provider, safe from forged forms; every page with all of its files."""
    desk = Desk(web)
    desk.sign_in(shop.people["staff"], shop.document["environment"]["OIDC_ISSUER"])
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


def audit(shop: Deployed) -> None:
    """By the operations, as after any deploy."""
    found = shop.operate("audit")
    expect(found["agree"], found)
    shop.operate("sweep", dry_run=True)
    shop.operate("replay-events", unsettled=True, dry_run=True)
