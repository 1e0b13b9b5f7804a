"""`manage.py replay_orders FILE --base-url URL`: places the invoices of an Online Retail file through the API."""

import json
import signal
import threading
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from django.core.management.base import BaseCommand, CommandError

from accounts.management.sign_in import SignInRefused
from catalog.online_retail import Garbled, read_file
from orders.management.shop_client import Interrupted, ShopAway, ShopClient
from orders.replay import Cancel, NotACancel, Outcome, Place, Report, Skip, Step, plan_replay
from vibecode.management.progress import progress_bar


class Command(BaseCommand):
    """A month of real orders against the real API, and whether each came out at quantity times our price."""

    help = (
        "Sign in as the customers of an Online Retail file and place its invoices through the API. Running it again "
        "places nothing new: each invoice has its own Idempotency-Key. Exit 1 when an answer is wrong."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What, where and how quickly."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--base-url", required=True, type=_address, help="such as http://127.0.0.1:8000")
        parser.add_argument("--limit", type=_positive, help="only the first so many invoices")
        parser.add_argument("--concurrency", type=_positive, default=4, help="requests at a time (4)")
        parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")

    def handle(self, *, file: Path, base_url: str, **options: Any) -> None:
        """Plan, replay, report. Ctrl-C ends with the report so far."""
        try:
            retail = read_file(file)
        except Garbled as error:
            raise CommandError(str(error)) from None
        steps = plan_replay(retail, limit=options["limit"])
        begun = time.monotonic()
        stop = threading.Event()
        client = ShopClient(base_url, connections=options["concurrency"], stop=stop)
        with _ending_on_signals(stop):
            try:
                with client:
                    replay = _Replay(client, client.prices(), retail.digest[:16])
                    report = _run(replay, steps, options["concurrency"])
            except ShopAway as error:
                raise CommandError(str(error)) from None
            except (KeyError, ValueError):
                raise CommandError(f"{base_url} does not speak as our shop does.") from None
            except Interrupted:  # before the first invoice
                report = Report()
        figures = report.as_json(seconds=time.monotonic() - begun, retries=client.retries)
        self.stdout.write(json.dumps(figures) if options["json"] else _table(figures))
        if stop.is_set():
            raise CommandError(f"ended early, after {report.invoices} of {len(steps)} invoices", returncode=130)
        if report.mismatches:
            raise CommandError(f"{len(report.mismatches)} answers differ from quantity × price")


def _address(text: str) -> str:
    url = httpx.URL(text)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ArgumentTypeError(f"must be an address such as http://127.0.0.1:8000; it is {text!r}")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number above 0; it is {text!r}")
    return int(text)


class _ending_on_signals:  # noqa: N801 -- read as a word after "with"
    """SIGINT and SIGTERM set the event: requests in hand are finished, no other begins. A second one ends at once."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.former: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.former[number] = signal.signal(number, self._end)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def _end(self, _number: int, _frame: object) -> None:
        if self.stop.is_set():
            raise KeyboardInterrupt
        self.stop.set()


def _run(replay: "_Replay", steps: Sequence[Step], concurrency: int) -> Report:
    """Carry the steps out in their order, so many at a time; every finished one is in the report."""
    report = Report()
    with ThreadPoolExecutor(concurrency) as pool, progress_bar("Replaying invoices", len(steps)) as advance:
        futures = [replay.begin(pool, step) for step in steps]
        for future in as_completed(futures):
            with suppress(Interrupted):  # each step that has not begun looks at the event itself
                report.add(future.result())
            advance(1)
    return report


@dataclass(slots=True)
class _Replay:
    client: ShopClient
    prices: Mapping[str, Decimal]
    file: str  # what the keys begin with: the same file makes the same keys
    originals: dict[str, Future[Outcome]] = field(default_factory=dict)

    def begin(self, pool: ThreadPoolExecutor, step: Step) -> Future[Outcome]:
        """Hand a step to the workers. A cancel finds its original ahead of it in their queue, so waiting ends."""
        future = pool.submit(self.carry_out, step)
        if isinstance(step, Place):
            self.originals[step.invoice] = future
        return future

    def carry_out(self, step: Step) -> Outcome:
        """Do one step. Raises Interrupted."""
        if self.client.stop.is_set():
            raise Interrupted
        try:
            match step:
                case Skip():
                    return Outcome(step)
                case Place():
                    return self.place(step)
                case Cancel():
                    return self.cancel(step)
        except ShopAway:
            return Outcome(step, code="no-answer")
        except SignInRefused:
            return Outcome(step, code="sign-in-refused")

    def place(self, step: Place) -> Outcome:
        """POST /orders."""
        items = [{"sku": sku, "quantity": quantity} for sku, quantity in step.quantities.items()]
        response = self.client.post("/api/v1/orders", {"items": items}, customer=step.customer, key=self.key(step))
        if response.status_code != 201:
            return Outcome(step, code=_code(response))
        answer = response.json()
        return Outcome(
            step,
            order=answer["orderId"],
            replayed=_is_replayed(response),
            total=Decimal(answer["total"]),
            mismatches=tuple(self.mismatches(step, answer)),
        )

    def cancel(self, step: Cancel) -> Outcome:
        """POST /orders/{orderId}/cancel, once the original was placed."""
        original = self.originals[step.original].result()
        if not original.order:
            return Outcome(step, reason=NotACancel.NOT_PLACED)
        path = f"/api/v1/orders/{original.order}/cancel"
        response = self.client.post(path, {}, customer=step.customer, key=self.key(step))
        if response.status_code != 200:
            return Outcome(step, code=_code(response))
        status = response.json()["status"]
        wrong = () if status == "cancelled" else (_mismatch(step, original.order, "status", "cancelled", status),)
        return Outcome(step, order=original.order, replayed=_is_replayed(response), mismatches=wrong)

    def key(self, step: Place | Cancel) -> str:
        """The same for the same invoice of the same file, whenever and wherever it is replayed."""
        return f"online-retail-{self.file}-{step.invoice}"

    def mismatches(self, step: Place, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Where items or total are not quantity times our price."""
        expected = {
            sku: (quantity, str(self.prices[sku]), str(self.prices[sku] * quantity))
            if sku in self.prices
            else (quantity, "not in the list of products", "")
            for sku, quantity in step.quantities.items()
        }
        answered = {item["sku"]: (item["quantity"], item["unitPrice"], item["lineTotal"]) for item in answer["items"]}
        wrong = [
            _mismatch(step, answer["orderId"], f"item {sku}", expected.get(sku), answered.get(sku))
            for sku in sorted(expected.keys() | answered.keys())
            if expected.get(sku) != answered.get(sku)
        ]
        if len(answer["items"]) != len(answered):
            wrong.append(_mismatch(step, answer["orderId"], "items", len(expected), len(answer["items"])))
        total = sum((self.prices.get(sku, Decimal(0)) * n for sku, n in step.quantities.items()), Decimal("0.00"))
        if answer["total"] != str(total):
            wrong.append(_mismatch(step, answer["orderId"], "total", str(total), answer["total"]))
        return wrong


def _mismatch(step: Place | Cancel, order: str, what: str, expected: object, answered: object) -> dict[str, Any]:
    return {"invoice": step.invoice, "orderId": order, "what": what, "expected": expected, "answered": answered}


def _is_replayed(response: httpx.Response) -> bool:
    return "Idempotent-Replayed" in response.headers


def _code(response: httpx.Response) -> str:
    """The problem's code; the bare status where somebody else than the shop answered."""
    with suppress(ValueError, KeyError, TypeError):
        return str(response.json()["code"])
    return str(response.status_code)


def _table(figures: Mapping[str, Any]) -> str:
    """The report for people."""
    rows: list[tuple[str, object]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            rows += [(f"{name}  {reason}", count) for reason, count in value.items()]
        elif isinstance(value, list):
            rows += [(name, len(value)), *((f"  {entry['invoice']}", entry) for entry in value[:20])]
        else:
            rows.append((name, value))
    wide = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{wide}}  {f'{value:,}' if isinstance(value, int) else value}" for name, value in rows)
