"""What becomes of an invoice: each rule on invoices made for it, then the sample, to its last line."""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

from catalog.demo import SAMPLE
from catalog.online_retail import Line, RetailFile, read_file
from orders.replay import Cancel, Outcome, Place, Report, Skip, Step, plan_replay


def planned(*rows: tuple[str, str, int, str], customer: str = "17850") -> list[Step]:
    """The plan of lines of (invoice, code, quantity, price)."""
    start = datetime(2010, 12, 1)  # noqa: DTZ001 -- the file's times have no zone
    lines = tuple(
        Line(n, invoice, sku, "MUG", quantity, start + timedelta(minutes=n), Decimal(price), customer, "EIRE")
        for n, (invoice, sku, quantity, price) in enumerate(rows)
    )
    return plan_replay(RetailFile("made.csv", "0" * 64, lines))


def test_lines_of_one_sku_are_added_up() -> None:
    (step,) = planned(("1", "85123A", 6, "2.55"), ("1", "85123A", 4, "2.10"))

    assert isinstance(step, Place)
    assert (step.quantities, step.lines, step.customer) == ({"85123A": 10}, 2, "customer-17850@example.com")


def test_an_unknown_customer_is_the_guest_of_their_country() -> None:
    (step,) = planned(("1", "85123A", 6, "2.55"), customer="")

    assert isinstance(step, Place)
    assert step.customer == "guest-eire@example.com"


def test_lines_that_cannot_be_ordered_are_counted_by_reason() -> None:
    (step,) = planned(("1", "85123A", 1, "1"), ("1", "POST", 1, "18"), ("1", "22423", 1, "0"), ("1", "22423", -1, "1"))

    assert isinstance(step, Place)
    assert step.left_out == {"no-product": 1, "zero-price": 1, "correction": 1}


def test_an_invoice_with_nothing_left_is_left_out_for_its_commonest_reason() -> None:
    (step,) = planned(("1", "POST", 1, "18"), ("1", "85123A", 1, "0"), ("1", "22423", 1, "0"))

    assert step == Skip("1", "zero-price", 3)


def test_a_cancellation_of_a_whole_order_cancels_it() -> None:
    steps = planned(
        ("1", "85123A", 6, "1"), ("1", "22423", 1, "9"), ("C2", "22423", -1, "9"), ("C2", "85123A", -6, "1")
    )

    assert steps[1] == Cancel("C2", "customer-17850@example.com", "1", 2, Counter())


def test_the_newest_equal_order_is_cancelled_and_each_only_once() -> None:
    steps = planned(*((name, "85123A", 6, "1") for name in "12"), *((f"C{n}", "85123A", -6, "1") for n in "345"))

    assert [step.original for step in steps if isinstance(step, Cancel)] == ["2", "1"]
    assert steps[-1] == Skip("C5", "cancellation-of-no-whole-order", 1)


def test_a_cancellation_of_a_part_is_left_out() -> None:
    steps = planned(("1", "85123A", 6, "1"), ("C2", "85123A", -5, "1"))

    assert steps[1] == Skip("C2", "cancellation-of-no-whole-order", 1)


def test_a_cancellation_does_not_reach_into_the_future() -> None:
    steps = planned(("C1", "85123A", -6, "1"), ("2", "85123A", 6, "1"))

    assert steps[0] == Skip("C1", "cancellation-before-its-order", 1)


def test_a_guests_cancellation_is_left_out() -> None:
    steps = planned(("1", "85123A", 6, "1"), ("C2", "85123A", -6, "1"), customer="")

    assert steps[1] == Skip("C2", "cancellation-without-customer", 1)


def test_the_sample_is_planned_to_its_last_line() -> None:
    sample = read_file(SAMPLE)
    report = Report()

    for step in plan_replay(sample):
        report.add(Outcome(step, order="ORD-1", total=Decimal("1.50")))

    figures = report.as_json(seconds=1, retries={})
    assert (figures["invoices"], figures["placed"], figures["cancelled"]) == (328, 187, 2)
    assert figures["leftOut"] == {
        "cancellation-of-no-whole-order": 96,
        "cancellation-without-customer": 3,
        "correction": 5,
        "no-product": 32,
        "zero-price": 3,
    }
    assert figures["leftOutLines"] == {"no-product": 5}
    assert figures["lines"] == {
        "inInvoices": 701,
        "cancelled": 2,
        "leftOut": 5,
        "ofLeftOutInvoices": 168,
        "ordered": 526,
    }
    assert figures["total"] == "280.50"


def test_a_refused_order_leaves_its_cancellation_out_and_the_sums_hold() -> None:
    place, cancel = planned(("1", "85123A", 6, "1"), ("1", "POST", 1, "1"), ("C2", "85123A", -6, "1"))
    report = Report()

    report.add(Outcome(place, code="out-of-stock"))
    report.add(Outcome(cancel, reason="cancellation-of-a-refused-order"))

    assert (report.invoices, report.refused.total(), report.left_out.total()) == (2, 1, 1)
    assert report.lines.total() == 3
    assert (report.units, report.left_out_lines.total()) == (0, 0)
