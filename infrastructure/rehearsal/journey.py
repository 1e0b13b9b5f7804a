"""Every step of a rehearsal, in their order. Called by the rehearsal, which keeps the time and the verdicts."""

from collections.abc import Callable, Iterator

from infrastructure.rehearsal.deployed import Deployed
from infrastructure.rehearsal.releases import ask_status, go_bare, release, roll_back, start_cold, undeploy
from infrastructure.rehearsal.steps import add_picture, audit, browse, make_staff, migrate, order, read_docs, use_desk
from infrastructure.rehearsal.trouble import misuse, rotate, sleep

type Step = tuple[str, Callable[[], object]]


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
    yield "the way back", lambda: roll_back(shop)
    yield "at API Gateway's own address", lambda: go_bare(shop)
    yield "stock, ledger, orders and figures agree", lambda: audit(shop)
    if not small:
        yield "cold starts", lambda: start_cold(shop)
    yield "zappa undeploy: nothing is left", lambda: undeploy(shop)
