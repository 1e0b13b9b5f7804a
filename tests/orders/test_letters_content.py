"""What the e-mails to customers say, in plain text and HTML, and who they are from. That they go out once: beside."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_django import Settings

from orders.letters import send_letter
from orders.models import Order, OrderLine, Payment
from tests.orders.ses import ADDRESS, ScriptedSES, fact, make_order, owe, ses

__all__ = ["ses"]  # pytest finds it here


def read(ses: ScriptedSES, news: dict[str, Any]) -> tuple[str, str, str]:
    """Send the letter; its subject, its plain text, and the words of its HTML."""
    send_letter(**news)
    message = ses.message()
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    shown = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html.get_content(), flags=re.DOTALL)
    return str(message["Subject"]), text.get_content(), " ".join(shown.split())


def html_of(ses: ScriptedSES) -> str:
    """The HTML as it was sent."""
    part = ses.message().get_body(("html",))
    assert part is not None
    return str(part.get_content())


def test_a_mail_says_whom_it_is_from_and_where_answers_go(db: None, ses: ScriptedSES, settings: Settings) -> None:
    settings.MAIL_REPLY_TO = "Vibecode <help@vibecode.example>"
    news = fact(make_order(email="ada@example.com"))

    send_letter(**news)

    message = ses.message()
    assert ses.calls[0]["Destination"] == {"ToAddresses": ["ada@example.com"]}
    assert {name: message[name] for name in ("From", "To", "Reply-To", "Auto-Submitted", "Message-ID")} == {
        "From": "Vibecode <orders@vibecode.example>",
        "To": "ada@example.com",
        "Reply-To": "Vibecode <help@vibecode.example>",
        "Auto-Submitted": "auto-generated",
        "Message-ID": f"<{news['event_id']}@vibecode.example>",
    }
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_a_confirmation_has_items_totals_and_the_address_as_it_was(db: None, ses: ScriptedSES) -> None:
    order = make_order(("Lamp & Shade", "1234.50", 2), ("Bulb <E27>", "0.99", 10), address=ADDRESS, note="ring twice")

    subject, text, html = read(ses, fact(order))

    assert subject == f"Order {order.number} is confirmed"
    for part in (text, html.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").replace("&#x27;", "'")):
        assert "Thank you for your order" in part
        assert order.number in part
        assert "Lamp & Shade" in part
        assert "Bulb <E27>" in part
        assert "£2,469.00" in part
        assert "£9.90" in part
        assert "£2,478.90" in part
        assert "12 St James's Square" in part
        assert "SW1Y 4JH" in part
        assert "+44 20 7946 0000" not in part
        assert "ring twice" not in part
    assert "Items:" not in text


def test_shipping_and_tax_are_listed_where_there_are_any(db: None, ses: ScriptedSES) -> None:
    order = make_order(("Lamp", "10.00", 1))
    Order.objects.filter(pk=order.pk).update(shipping_total="4.95", tax_total="2.00", total="16.95")

    _, text, html = read(ses, fact(order))

    assert re.search(r"Items: £10\.00\nShipping: £4\.95\nTax: £2\.00\nTotal: £16\.95\n", text)
    assert "Items £10.00 Shipping £4.95 Tax £2.00 Total £16.95" in html


def test_a_currency_without_a_sign_shows_its_code(db: None, ses: ScriptedSES) -> None:
    order = make_order()
    Order.objects.filter(pk=order.pk).update(currency="SEK")

    assert "SEK 5.00" in read(ses, fact(order))[1]


def test_times_are_the_shops(db: None, ses: ScriptedSES) -> None:
    order = make_order()
    Order.objects.filter(pk=order.pk).update(created_at=datetime(2026, 7, 1, 23, 30, tzinfo=UTC))

    assert "2 July 2026, 00:30 BST" in read(ses, fact(order))[1]


def test_a_shipment_says_what_is_on_its_way_and_its_tracking(db: None, ses: ScriptedSES) -> None:
    order = make_order(("Lamp", "10.00", 3), ("Bulb", "1.00", 5))

    subject, text, html = read(ses, fact(order, "Order Shipped", tracking="RM 123 <b>456</b> GB"))

    assert subject == f"Order {order.number} is on its way"
    assert "Tracking: RM 123 <b>456</b> GB\n" in text
    assert "RM 123 &lt;b&gt;456&lt;/b&gt; GB" in html
    for part in (text, html):
        assert "Your order is on its way" in part
        assert "Lamp" in part
        assert "Bulb" in part
        assert "£" not in part


def test_a_shipment_of_a_part_lists_that_part(db: None, ses: ScriptedSES) -> None:
    order = make_order(("Lamp", "10.00", 3), ("Bulb", "1.00", 5))
    lamp = next(line for line in order.items if line.name == "Lamp")
    part = {"items": [{"sku": lamp.sku, "quantity": 2}], "status": "partly_shipped"}

    subject, text, _ = read(ses, fact(order, "Order Shipped", **part))

    assert subject == f"Part of order {order.number} is on its way"
    assert f"2 x Lamp ({lamp.sku})\n" in text
    assert "Bulb" not in text
    assert "the rest follows" in text
    assert "Tracking" not in text


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("payment-declined", "Your bank declined the payment."),
        ("payment-failed", "The payment could not be taken."),
        ("payment-expired", "The payment was not confirmed in time."),
        ("workflow-gave-up", "We could not carry it out."),
        ("the customer, Ada of 12 St James's Square, was rude", "It was called off before anything was shipped."),
    ],
)
def test_a_cancellation_says_why_in_our_own_words(db: None, ses: ScriptedSES, reason: str, said: str) -> None:
    order = make_order()
    Order.objects.filter(pk=order.pk).update(cancel_reason=reason)

    subject, text, html = read(ses, fact(order, "Order Cancelled"))

    assert subject == f"Order {order.number} is cancelled"
    assert said in text
    assert said in html
    assert reason not in text + html


@pytest.mark.parametrize(
    ("payment", "attempts", "said", "unsaid"),
    [
        (None, 0, "Nothing was charged.", "back, the way you paid"),
        (("declined", "0.00"), 1, "Nothing was charged.", "back, the way you paid"),
        (("voided", "0.00"), 1, "Nothing was charged.", "back, the way you paid"),
        (("voided", "0.00"), 2, "you get all of it back", "Nothing was charged"),
        (("captured", "5.00", "5.00"), 1, "You get £5.00 back, the way you paid.", "did not go through"),
        (("unknown", "0.00"), 1, "you get all of it back", "Nothing was charged"),
        (("captured", "5.00", "0.00"), 1, "The refund of £5.00 did not go through at once.", "£5.00 back"),
        (("captured", "5.00", "2.00"), 1, "You get £2.00 back, the way you paid.", "Nothing was charged"),
        (("captured", "5.00", "2.00"), 1, "The refund of £3.00 did not go through at once.", "in all"),
    ],
)
def test_a_cancellation_says_what_becomes_of_the_money(
    db: None, ses: ScriptedSES, payment: tuple[str, ...] | None, attempts: int, said: str, unsaid: str
) -> None:
    order = make_order(("Lamp", "2.50", 2))
    if payment:
        owe(order, *payment)
        Payment.objects.filter(order=order).update(attempts=attempts)

    _, text, html = read(ses, fact(order, "Order Cancelled"))
    html = html.replace("<strong>", "").replace("</strong>", "")

    assert said in text
    assert said in html
    assert unsaid not in text + html


def test_a_cancellation_after_an_earlier_refund_says_that_it_names_both(db: None, ses: ScriptedSES) -> None:
    order = make_order(("Lamp", "2.50", 2))
    payment = owe(order, "captured", "5.00", "5.00")
    for number, (amount, state) in enumerate([("2.00", "settled"), ("3.00", "failed"), ("3.00", "pending")]):
        payment.refunds.create(
            reference=f"{order.number}-R{number}",
            amount=amount,
            state=state,
            settled_at=payment.created_at if state == "settled" else None,
        )

    assert "You get £5.00 back in all, the way you paid." in read(ses, fact(order, "Order Cancelled"))[1]


def test_a_refund_says_how_much_of_what(db: None, ses: ScriptedSES) -> None:
    order = make_order(("Lamp", "2.50", 2))

    subject, text, html = read(ses, fact(order, "Order Refunded", amount="1.20", refundReference="ORD-R1"))

    assert subject == f"Refund of £1.20 for order {order.number}"
    assert "Refund: £1.20 of £5.00\n" in text
    assert "£1.20 of £5.00" in html
    assert "goes back to you" in text


def test_a_name_cannot_bring_html_or_a_header(db: None, ses: ScriptedSES) -> None:
    evil = "<script>alert(1)</script>\r\nBcc: eve@example.com {{ number }} {% now 'Y' %}"
    order = make_order((evil.replace("\r\n", " "), "1.00", 1), address=ADDRESS | {"name": evil, "city": evil})
    order.user.name = evil
    order.user.save()

    send_letter(**fact(order))

    message = ses.message()
    assert "<script>" not in html_of(ses)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html_of(ses)
    assert "{{ number }}" in html_of(ses)
    assert message["Bcc"] is None
    assert ses.calls[0]["Destination"] == {"ToAddresses": [order.user.email]}


@pytest.mark.parametrize("kind", ["Order Confirmed", "Order Shipped", "Order Cancelled", "Order Refunded"])
def test_no_mail_loads_or_links_anything(db: None, ses: ScriptedSES, kind: str) -> None:
    send_letter(**fact(make_order(address=ADDRESS), kind, amount="1.00"))

    html = html_of(ses)
    assert not re.search(r"https?:|src=|href=|url\(|@import", html)
    assert "@media (prefers-color-scheme: dark)" in html


def test_a_thousand_lines_are_all_there_and_the_total_stands_before_them(db: None, ses: ScriptedSES) -> None:
    order = make_order((f"Thing 0000 {'w' * 150}", "1.00", 1))
    (first,) = order.items
    OrderLine.objects.bulk_create(
        OrderLine(
            order=order,
            position=n + 1,
            product=first.product,
            sku=f"THING-{n}",
            name=f"Thing {n:04} {'w' * 189}",
            unit_price=first.unit_price,
            quantity=1,
        )
        for n in range(1, 1000)
    )
    Order.objects.filter(pk=order.pk).update(subtotal=1000, total=1000)

    _, text, html = read(ses, fact(order))

    assert len(re.findall(r"Thing \d{4}", text)) == 1000
    assert len(re.findall(r"Thing \d{4}", html)) == 1000
    # Mail programs cut a long letter short: what matters comes first.
    assert html.index("£1,000.00") < html.index("Thing 0000")
    assert len(html_of(ses)) < 1_000_000
