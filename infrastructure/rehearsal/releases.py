"""Steps of a rehearsal about what is deployed: status, a second release, the way back, another address, the end."""

import base64
import hashlib
import json
import statistics
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infrastructure.rehearsal.deployed import Deployed
from infrastructure.rehearsal.steps import use_desk
from infrastructure.rehearsal.trouble import check_addresses
from infrastructure.rehearsal.visitors import Person, WentWrong, expect, wait_for
from vibecode.local.fleet import UnknownFunction
from vibecode.local.rest_gateway import proxy_event
from vibecode.local.sandboxes import Sandbox
from vibecode.local.web_server import Asked

COLD_STARTS = 5  # sandboxes measured
WARM = 10  # requests of each after its first


def ask_status(shop: Deployed) -> str:
    """As Zappa tells it."""
    told = json.loads(shop.zappa.run("status", shop.api.stage, "--json").partition("{")[2].join(["{", ""]))
    expect(told["Lambda Handler"] == "vibecode.lambda_entry.handler", told)
    expect(shop.api.id in told["API Gateway URL"], told)
    expect(told["Num. Event Rules"] == 0, "Zappa has events of its own")
    return f"{told['Lambda Versions']} versions, {told['Lambda Code Size'] / 1e6:.1f} MB"


def release(shop: Deployed) -> str:
    """Another package, put in the place of the first, while customers keep asking."""
    _check_release(shop, shop.first)
    archive = shop.second()
    shop.account.publish_static(archive)  # new names beside the old ones, before anybody asks for them
    placed = _while_ordering(shop, lambda: shop.zappa.update(archive))
    _check_release(shop, archive)
    return f"{placed} orders meanwhile, all completed"


def roll_back(shop: Deployed) -> str:
    """The package of before, as `make rollback` gives it: who produces first, while customers keep asking."""
    placed = _while_ordering(shop, lambda: shop.zappa.update(shop.first, *reversed(shop.zappa.functions)))
    _check_release(shop, shop.first)
    return f"{placed} orders meanwhile, all completed"


def _check_release(shop: Deployed, archive: Path) -> None:
    """Both functions have this package, to the byte, and the web function says so."""
    with zipfile.ZipFile(archive) as opened:
        release = opened.read("vibecode/release.txt").decode().strip()
    said = shop.public.ask("GET", "/healthz").headers.get("X-Release")
    expect(said == release, f"the release is {said}, not {release}")
    digest = base64.b64encode(hashlib.sha256(archive.read_bytes()).digest()).decode()
    for name in (shop.account.resources.prefix, shop.account.resources.worker):
        found = shop.account.client("lambda").get_function_configuration(FunctionName=name)["CodeSha256"]
        expect(found == digest, f"{name} has another package than {release}")


def _is_completed(customer: Person, number: str) -> bool:
    return bool(customer.call("GET", f"/orders/{number}")["status"] == "completed")


def _while_ordering(shop: Deployed, work: Callable[[], object]) -> int:
    """Do it while somebody orders without a pause; how many orders there were. Raises WentWrong where one is lost."""
    customer, numbers = shop.people["customer"], []
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        while not done.done():
            body = {"items": [{"sku": shop.sku, "quantity": 1}]}
            numbers.append(customer.call("POST", "/orders", body, status=201)["orderId"])
            time.sleep(0.2)  # there are a thousand on the shelf
        done.result()
    for number in numbers:
        wait_for(partial(_is_completed, customer, number), f"{number} completed")
    return len(numbers)


def go_bare(shop: Deployed) -> str:
    """A stage without CloudFront: told its own address, it is right there too."""
    environment = {**shop.document["environment"], "PUBLIC_URL": f"https://{shop.api.host}/{shop.api.stage}"}
    del environment["MEDIA_URL"], environment["ORIGIN_SECRET_SHA256"]
    shop.zappa.take({**shop.document, "environment": environment})
    shop.zappa.update(shop.first)
    web, prefix = shop.bare, f"/{shop.api.stage}"
    sent_away = web.ask("GET", "/admin/")
    expect(sent_away.headers.get("Location") == f"{prefix}/admin/login/?next={prefix}/admin/", sent_away.headers)
    said = use_desk(shop, web)
    check_addresses(web)
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


def start_cold(shop: Deployed) -> str:
    """The first request of a new sandbox and the ones after it, in AWS's runtime."""
    asked = Asked("GET", "", [("Host", shop.api.host)], b"", "203.0.113.7")
    event = proxy_event(shop.api, asked, "/api/v1/products", "pageSize=20")
    first: list[float] = []
    warm: list[float] = []
    function = shop.fleet.function(shop.account.resources.prefix)
    for _ in range(COLD_STARTS):
        sandbox = Sandbox(function, function.folder.with_suffix(".cold"))
        try:
            first.append(_seconds(sandbox, event))
            warm.append(statistics.median(_seconds(sandbox, event) for _ in range(WARM)))
        finally:
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
    for name in (shop.account.resources.prefix, shop.account.resources.worker):
        try:
            shop.fleet.function(name)
        except UnknownFunction:
            continue
        raise WentWrong(f"{name} is still there")
