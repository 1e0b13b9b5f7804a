"""The loaders: twice is once, the ledger stays right, and nothing is half written."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from catalog.demo import SAMPLE
from catalog.loading import load_catalogue
from catalog.models import Category, Product, ProductImage, Stock, StockMovement
from catalog.online_retail import Item, catalogue_of, read_file
from orders.services import audit_stock
from tests.in_process import Caller, order_body, shelf
from vibecode import aws

pytestmark = pytest.mark.django_db


def sample_items() -> tuple[Item, ...]:
    """What the sample says."""
    return catalogue_of(read_file(SAMPLE).lines).items


def everything() -> dict[str, Any]:
    """All that a load writes."""
    return {
        model.__name__: list(model._default_manager.order_by("pk").values())
        for model in (Category, Product, Stock, StockMovement)
    }


def test_the_catalogue_is_what_the_file_says() -> None:
    call_command("load_online_retail", SAMPLE)

    products = Product.objects.published().select_related("stock", "category__parent")
    assert {(p.sku, p.name, p.price, p.stock.on_hand) for p in products} == {
        (item.sku, item.name, item.price, item.units) for item in sample_items()
    }
    heart = products.get(sku="85123A")
    assert heart.category is not None
    assert heart.category.parent is not None
    assert (heart.category.parent.name, heart.category.name, heart.currency) == ("Home", "Candles & lights", "GBP")
    assert audit_stock() == []


def test_loading_twice_changes_nothing() -> None:
    call_command("load_online_retail", SAMPLE)
    before = everything()

    call_command("load_online_retail", SAMPLE)

    assert everything() == before


def test_what_was_changed_since_comes_back_and_what_is_reserved_stays(shopper: Caller) -> None:
    call_command("load_online_retail", SAMPLE)
    heart = Product.objects.select_related("stock").get(sku="85123A")
    units = heart.stock.on_hand
    assert shopper.post("/orders", order_body(("85123A", 7))).status_code == 201
    Product.objects.filter(pk=heart.pk).update(price=99, status=Product.Status.ARCHIVED)

    call_command("load_online_retail", SAMPLE)

    again = Product.objects.get(pk=heart.pk)
    assert (again.price, again.status, again.version) == (heart.price, "published", heart.version + 1)
    assert shelf(heart) == (units, 7)
    assert audit_stock() == []


def test_on_hand_never_falls_below_what_is_reserved(shopper: Caller) -> None:
    items = [item for item in sample_items() if item.sku == "85123A"]
    load_catalogue(items=items, source="much")
    assert shopper.post("/orders", order_body(("85123A", 7))).status_code == 201
    few = Item(items[0].sku, items[0].name, items[0].price, 3, items[0].shelf)

    load_catalogue(items=[few], source="few")

    heart = Product.objects.get(sku="85123A")
    assert shelf(heart) == (7, 7)
    last = StockMovement.objects.filter(product=heart).latest("id")
    assert (last.kind, last.cause, last.reason) == ("adjust", "request", "stock of the file few")
    assert audit_stock() == []


def test_a_dry_run_says_what_it_would_do_and_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("load_online_retail", SAMPLE, "--dry-run")

    assert "194 created" in capsys.readouterr().out
    assert not any(everything().values())


def test_what_is_left_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("load_online_retail", SAMPLE)

    assert "no-product: 7 codes, 41 lines (AMAZONFEE, BANK CHARGES" in capsys.readouterr().out


def test_a_load_that_fails_in_the_middle_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_disk(*_: object, **__: object) -> None:
        raise DatabaseError("no space left")

    monkeypatch.setattr(StockMovement.objects, "bulk_create", out_of_disk)

    with pytest.raises(CommandError, match=r"Nothing was loaded: no space left"):
        call_command("load_online_retail", SAMPLE)


def test_a_garbled_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("InvoiceNo,StockCode\n1,2\n")

    with pytest.raises(CommandError, match=r"bad\.csv, line 1: there is no column Description, Quantity"):
        call_command("load_online_retail", path)
    assert not any(everything().values())


def test_the_statements_of_a_load_do_not_grow_with_its_products(django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(75):  # two for each of 25 categories with their savepoints, a dozen a batch
        load_catalogue(items=[item for item in sample_items() if item.shelf.name == "Christmas"], source="some")
    load_catalogue(items=sample_items(), source="all")
    with django_assert_max_num_queries(40):
        load_catalogue(items=sample_items(), source="all again")


# --- the demo shop ---------------------------------------------------------------------------------------------------
def test_the_demo_shop_has_products_and_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("load_demo_shop")

    assert (Product.objects.published().count(), ProductImage.objects.count()) == (194, 24)
    image = ProductImage.objects.select_related("product").first()
    assert image is not None
    assert (image.width, image.height) == (480, 480)
    assert image.product.name in image.alt
    assert (
        aws.client("s3").head_object(Bucket="vibecode-local-media", Key=str(image.file.name))["ContentType"]
        == "image/webp"
    )
    assert audit_stock() == []


def test_a_shop_with_products_is_left_alone(product: Any, capsys: pytest.CaptureFixture[str]) -> None:
    product()
    before = everything()

    call_command("load_demo_shop")

    assert capsys.readouterr().out == "the shop is not empty: nothing to load\n"
    assert everything() == before


def test_without_s3_the_demo_shop_has_no_pictures_and_says_so(
    settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.MEDIA_BUCKET = "nobody-made-this-one"

    call_command("load_demo_shop")

    assert (Product.objects.count(), ProductImage.objects.count()) == (194, 0)
    assert (
        "S3 does not do what we ask (NoSuchBucket): try again in a moment. 0 of 24 pictures" in capsys.readouterr().out
    )


def test_a_picture_is_the_same_each_time_and_small() -> None:
    from catalog.demo.pictures import draw_picture, initials_of

    assert draw_picture("85123A", "RED MUG") == draw_picture("85123A", "RED MUG") != draw_picture("22423", "RED MUG")
    assert len(draw_picture("85123A", "RED MUG")) < 20_000
    assert [initials_of(name) for name in ("SET OF 3 CAKE TINS", "MUG", "50'S", "!")] == ["CT", "M", "5", "!"]
