"""Steps of a rehearsal in which something is wrong: what customers send, who asks, the database."""

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql

from infrastructure.rehearsal.account import APP
from infrastructure.rehearsal.deployed import Deployed
from infrastructure.rehearsal.visitors import Web, expect, wait_for

MEGABYTE = 1024 * 1024


def misuse(shop: Deployed) -> str:
    """What is too long the gateway refuses in its own words, all else the shop in its own form; nobody goes around."""
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
    challenge = refused.headers.get("WWW-Authenticate", "")
    expect(challenge.startswith("Bearer"), "the 401 lost its challenge")
    check_addresses(shop.public)
    around = shop.bare.ask("GET", "/api/v1/products", headers={"X-Origin-Secret": "guessed"})
    expect(around.status_code == 403 and shop.public.base in around.json()["detail"], around.text)
    return ", ".join(f"{name} {status}" for name, status in found.items())


def check_addresses(web: Web) -> None:
    """Whoever claims another address is counted as themselves, and each address by itself."""
    for _ in range(3):  # a minute may turn in between
        left = [
            int(client.request("GET", f"{web.base}/api/v1/products", headers=said).headers["RateLimit-Remaining"])
            for client, said in (
                (web.http, {"X-Forwarded-For": "6.6.6.6"}),
                (web.http, {"X-Forwarded-For": "7.7.7.7, 8.8.8.8"}),
                (web.http, {"X_Forwarded_For": "9.9.9.9, 9.9.9.9"}),
                (web.from_elsewhere("127.0.0.9"), {}),
            )
        ]
        if left[0] > left[1] > left[2] < left[3]:
            return
    expect(False, f"addresses are forged, or all are taken for one: {left}")


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
