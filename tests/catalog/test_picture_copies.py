"""The queue `pictures`: smaller copies of a picture, once, and none of a picture that is gone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog import images
from catalog.models import Product, ProductImage
from catalog.pictures import ask_for_copies, examine, keep_picture
from tests.catalog.files import a_picture, opened
from tests.catalog.test_pictures import _tidy_bucket, keys, stored  # noqa: F401 -- a fixture
from tests.in_process import Caller
from tests.orders.test_consumers import _one_transaction, deliver, wrapped  # noqa: F401 -- a fixture
from vibecode import bucket
from vibecode.models import OutboxEvent, ProcessedMessage

type Make = Callable[..., Product]


def kept(product: Product, content: bytes) -> tuple[ProductImage, dict[str, Any]]:
    """A picture of a product, and the fact that it is there."""
    image = keep_picture(product=product, picture=examine(content=content))
    return image, wrapped(OutboxEvent.objects.filter(detail_type="Picture Stored").latest("id"))


def test_a_picture_gets_two_copies_that_everybody_sees(stranger: Caller, product: Make) -> None:
    image, fact = kept(product("LAMP"), a_picture("JPEG", (1000, 500)))
    before = stranger.get("/products/LAMP")
    assert (before.json()["images"][0]["thumbnailUrl"], before.json()["images"][0]["previewUrl"]) == (None, None)

    assert deliver("pictures", fact) == []

    image.refresh_from_db()
    after = stranger.get("/products/LAMP", If_None_Match=before.headers["ETag"]).json()["images"][0]
    for copy, address, width in ((image.thumbnail, "thumbnailUrl", 160), (image.preview, "previewUrl", 640)):
        picture = opened(stored(str(copy.name)))
        assert (picture.format, picture.size) == ("WEBP", (width, width // 2))
        assert str(copy.name) in after[address]
    assert stranger.get("/products/LAMP").json()["version"] == before.json()["version"]


def test_a_fact_that_comes_twice_or_again_under_another_id_makes_copies_once(
    product: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fact = kept(product("LAMP"), a_picture())
    shrunk: list[int] = []
    shrink = images.shrink

    def counted(content: bytes, width: int) -> bytes:
        shrunk.append(width)
        return shrink(content, width)

    monkeypatch.setattr(images, "shrink", counted)

    assert deliver("pictures", fact, fact) == []
    ProcessedMessage.objects.all().delete()
    assert deliver("pictures", fact) == []

    assert shrunk == [160, 640]


@pytest.mark.parametrize("when", ["before", "meanwhile", "its file too"])
def test_of_a_picture_that_was_removed_nothing_stays_behind(
    product: Make, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, fact = kept(product("LAMP"), a_picture())
    shrink = images.shrink

    def removed_meanwhile(content: bytes, width: int) -> bytes:
        ProductImage.objects.filter(pk=image.pk).delete()
        return shrink(content, width)

    if when == "before":
        ProductImage.objects.all().delete()
        bucket.delete(str(image.file.name))
    elif when == "meanwhile":
        monkeypatch.setattr(images, "shrink", removed_meanwhile)
    else:
        bucket.delete(str(image.file.name))

    assert deliver("pictures", fact) == []

    for kept_row in ProductImage.objects.all():  # it names no file that is not there
        assert (kept_row.preview, kept_row.thumbnail) == (kept_row.file, kept_row.file)
    assert keys("products/lamp") <= {str(image.file.name)}
    assert ProcessedMessage.objects.get(consumer="pictures").handled_at is not None


def test_a_storage_that_is_away_brings_the_fact_back(product: Make, settings: Any) -> None:
    image, fact = kept(product("LAMP"), a_picture())
    ours = settings.MEDIA_BUCKET
    settings.MEDIA_BUCKET = "nobody-made-this-one"
    assert deliver("pictures", fact) == ["0"]

    settings.MEDIA_BUCKET = ours
    assert deliver("pictures", fact) == []
    image.refresh_from_db()
    assert image.preview


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (a_picture("PNG", mode="RGBA"), "RGBA"),
        (a_picture("PNG", mode="P"), "RGB"),
        (a_picture("GIF", mode="P", transparency=0), "RGBA"),
        (a_picture("JPEG", mode="CMYK"), "RGB"),
        (a_picture("JPEG", mode="L"), "RGB"),
    ],
    ids=["see-through", "of a palette", "of a palette with a hole", "for print", "grey"],
)
def test_a_copy_of_every_kind_is_as_large_as_the_original_at_most(content: bytes, mode: str) -> None:
    copy = opened(images.shrink(images.examine(content).content, 160))

    assert (copy.format, copy.size, copy.mode) == ("WEBP", (64, 48), mode)


def test_a_tower_is_no_higher_than_twice_its_width() -> None:
    assert opened(images.shrink(a_picture("PNG", (100, 4000)), 160)).size == (8, 320)


def test_a_picture_that_cannot_be_shrunk_is_its_own_copies_and_is_asked_for_no_more(
    stranger: Caller, product: Make
) -> None:
    image, fact = kept(product("LAMP"), a_picture("JPEG", (1000, 500)))
    bucket.put(str(image.file.name), b"\xff\xd8\xff no picture any more", content_type="image/jpeg")
    ProductImage.objects.update(created_at=datetime.now(UTC) - timedelta(days=2))

    assert deliver("pictures", fact) == []

    image.refresh_from_db()
    assert (image.thumbnail, image.preview) == (image.file, image.file)
    assert keys("products/lamp") == {str(image.file.name)}
    shown = stranger.get("/products/LAMP").json()["images"][0]
    assert shown["thumbnailUrl"] == shown["previewUrl"] == shown["url"]
    assert ask_for_copies() == 0


def test_what_memory_cannot_hold_comes_back(product: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> bytes:
        raise MemoryError

    image, fact = kept(product("LAMP"), a_picture())

    with monkeypatch.context() as patch:
        patch.setattr(images, "_shrunk", out_of_memory)
        assert deliver("pictures", fact) == ["0"]

    image.refresh_from_db()
    assert not image.preview
    assert deliver("pictures", fact) == []
