"""What can be done with a product's pictures. Called by the views, the admin, the queue `pictures` and the demo shop.

A browser puts a file straight into the bucket, under a key that nobody reads; once it was looked at it gets its public
place, and smaller copies in the background. Each step may happen twice, late or beside another one.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from django.db import transaction
from django.db.models import Max

from catalog.events import PictureStored
from catalog.models import PICTURE_TYPES, Product, ProductImage
from catalog.services import raise_version
from vibecode import bucket
from vibecode.errors import Conflict, Unprocessable
from vibecode.outbox import publish
from vibecode.resources import UPLOAD_DAYS, UPLOAD_SECONDS, UPLOADS
from vibecode.rights import Actor, Right

if TYPE_CHECKING:
    from catalog.images import Picture

log = structlog.stdlib.get_logger("catalog.pictures")

LARGEST_UPLOAD = 10 * 2**20  # bytes
COPIES: Mapping[str, int] = {"thumbnail": 160, "preview": 640}  # columns, and how wide their pictures are
SWEPT = 1000  # rows of one sweep


class PictureRefused(Unprocessable):
    """What was stored, or is to be, is no picture for the shop. The detail says why and how to mend it."""

    code = "picture-refused"
    title = "The picture cannot be shown"


class PictureNotUploaded(Conflict):
    """Nothing lies under the picture's key yet."""

    code = "picture-not-uploaded"
    title = "The picture's file has not been uploaded"


class PictureGone(Conflict):
    """The picture was removed while its file was looked at."""

    code = "picture-gone"
    title = "The picture was removed meanwhile"


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun: what a browser posts where, and the picture that it will be."""

    image: ProductImage
    url: str
    fields: Mapping[str, str]
    seconds: int = UPLOAD_SECONDS


# --- uploads ---------------------------------------------------------------------------------------------------------
def begin_upload(
    *, product: Product, content_type: str, actor: Actor, size: int | None = None, alt: str = ""
) -> Upload:
    """Sign a form with which a browser stores one picture, within ten minutes, under a key that nobody can guess.

    The picture is seen by nobody until complete_upload has looked at it. No network. Raises Denied, and
    PictureRefused for a type or a size (bytes) that S3 would not take with it either.
    """
    actor.must(Right.CATALOGUE)
    if content_type not in PICTURE_TYPES:
        raise PictureRefused(f"Not every browser shows {content_type[:80]!r}: choose a JPEG, PNG, WebP or GIF.")
    _check_size(size)
    key = f"{UPLOADS}{secrets.token_hex(16)}.{PICTURE_TYPES[content_type]}"
    form = bucket.sign_form(key, content_type=content_type, most=LARGEST_UPLOAD, seconds=UPLOAD_SECONDS)
    image = ProductImage.objects.create(
        product=product, state=ProductImage.State.AWAITING, upload=key, alt=alt, position=_next_position(product)
    )
    return Upload(image, form.url, form.fields)


def complete_upload(*, image: ProductImage, actor: Actor) -> ProductImage:
    """Look at what was stored, and show it. Asked again it answers the same, and does nothing.

    Raises Denied; PictureRefused for good, its file is gone then; PictureNotUploaded while there is none; PictureGone;
    and StorageAway. Network, so outside of any transaction.
    """
    actor.must(Right.CATALOGUE)
    if image.state == ProductImage.State.REFUSED:
        raise PictureRefused(image.refusal)
    if image.state == ProductImage.State.READY:
        return image
    stored = bucket.read(image.upload, most=LARGEST_UPLOAD)
    if stored is None:
        return _completed_by_another(image) or _nothing_stored()
    try:
        picture = _examined(stored)
    except PictureRefused as refusal:
        _refuse(image, refusal.detail)
        raise
    name = _public_name(image)
    if not bucket.put_first(name, picture.content, content_type=picture.content_type):
        picture = _laid_by_another(name)
    shown = _show(image, name, picture) or _completed_by_another(image)
    bucket.delete(image.upload)
    if shown is None:
        bucket.delete(name)
        raise PictureGone("Somebody removed the picture, or it waited for more than a day: upload it again.")
    return shown


def _laid_by_another(name: str) -> "Picture":
    """What another request has published from this upload, or one that died: the browser may have sent two files.

    Who comes first is shown, and described by what lies there.
    """
    stored = bucket.read(name)
    if stored is None:
        raise PictureGone("Somebody removed the picture: upload it again.")
    return examine(content=stored.content)


def _examined(stored: bucket.Stored) -> "Picture":
    _check_size(stored.size)  # S3 itself takes no more with our signature
    return examine(content=stored.content, content_type=stored.content_type)


def _check_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise PictureRefused("The file is empty: choose another one.")
    if size is not None and size > LARGEST_UPLOAD:
        raise PictureRefused(
            f"The file has {size / 2**20:,.1f} MB; at most {LARGEST_UPLOAD // 2**20} MB are taken: scale it down."
        )


def examine(*, content: bytes, content_type: str = "") -> "Picture":
    """The picture in a file, made of nothing but its pixels. Raises PictureRefused, saying why and how to mend it."""
    from catalog import images  # Pillow

    try:
        return images.examine(content, content_type)
    except images.Unfit as unfit:
        raise PictureRefused(str(unfit)) from unfit


def _nothing_stored() -> ProductImage:
    raise PictureNotUploaded(
        "Post the file to `url` with all of `fields` first; if its ten minutes are over, begin a new upload."
    )


def _completed_by_another(image: ProductImage) -> ProductImage | None:
    """The picture, if another request has completed it meanwhile. Raises PictureRefused if that refused it."""
    fresh = ProductImage.objects.select_related("product").filter(pk=image.pk).first()
    if fresh is not None and fresh.state == ProductImage.State.REFUSED:
        raise PictureRefused(fresh.refusal)
    return fresh if fresh is not None and fresh.state == ProductImage.State.READY else None


def _refuse(image: ProductImage, reason: str) -> None:
    """Forget the file, then remember why: a process that dies in between has only lost what was no good."""
    bucket.delete(image.upload)
    ProductImage.objects.filter(pk=image.pk, state=ProductImage.State.AWAITING).update(
        state=ProductImage.State.REFUSED, refusal=reason[:300]
    )


def _show(image: ProductImage, name: str, picture: "Picture") -> ProductImage | None:
    """Give an awaited picture its public place, and say so; None if it is not awaited any more."""
    with transaction.atomic():
        product = Product.objects.select_for_update(no_key=True).get(pk=image.product_id)
        awaited = ProductImage.objects.filter(pk=image.pk, state=ProductImage.State.AWAITING)
        if not awaited.update(
            state=ProductImage.State.READY, upload="", file=name, width=picture.width, height=picture.height
        ):
            return None
        changed = raise_version(product=product)
        publish(PictureStored(sku=product.sku, image_id=image.pk))
        shown = ProductImage.objects.get(pk=image.pk)
    shown.product = changed  # at the very version that this picture made
    return shown


def _public_name(image: ProductImage) -> str:
    """Where an upload is shown: the same place however often it is completed, so that none is left behind."""
    return f"products/{image.product.sku.lower()}-{image.upload.removeprefix(UPLOADS)}"


def _next_position(product: Product) -> int:
    last = ProductImage.objects.filter(product=product).aggregate(last=Max("position"))["last"]
    return 0 if last is None else min(last + 1, 32767)


def sweep_uploads() -> int:
    """Forget uploads that were begun more than a day ago and came to nothing; returns how many.

    Each row first, then what it names: an upload that is completed just now finds no row, and takes its file back.
    """
    before = datetime.now(UTC) - timedelta(days=UPLOAD_DAYS)
    swept = 0
    for image in ProductImage.objects.abandoned(before).select_related("product").order_by("created_at")[:SWEPT]:
        gone, _ = ProductImage.objects.abandoned(before).filter(pk=image.pk).delete()
        if gone:
            bucket.delete(image.upload, _public_name(image))
            swept += 1
    return swept


def ask_for_copies() -> int:
    """Say once more that a picture was stored, where a day later it has no copies; returns how many."""
    before = datetime.now(UTC) - timedelta(days=UPLOAD_DAYS)
    with transaction.atomic():
        lacking = ProductImage.objects.lacking_copies(before).select_related("product").order_by("created_at")[:SWEPT]
        facts = [PictureStored(sku=image.product.sku, image_id=image.pk) for image in lacking]
        if facts:
            publish(*facts)
    return len(facts)


# --- pictures at hand ------------------------------------------------------------------------------------------------
def keep_picture(*, product: Product, picture: "Picture", alt: str = "", position: int = 0) -> ProductImage:
    """Store a picture that was examined, then its row: a row without a file would be a broken picture.

    Network, so outside of any transaction. Raises StorageAway; then no row was written.
    """
    name = f"products/{product.sku.lower()}-{secrets.token_hex(16)}.{picture.ending}"
    bucket.put(name, picture.content, content_type=picture.content_type)
    with transaction.atomic():
        raise_version(product=product)  # first: whoever changes a product locks it before its pictures
        image = ProductImage.objects.create(
            product=product, file=name, width=picture.width, height=picture.height, alt=alt, position=position
        )
        publish(PictureStored(sku=product.sku, image_id=image.pk))
    return image


def describe_picture(*, picture: ProductImage) -> ProductImage:
    """Write a picture's alternative text and its place; the caller raises the product's version."""
    picture.save(update_fields=["alt", "position"])
    return picture


def remove_picture(*, picture: ProductImage) -> None:
    """Remove a picture: the row now, its files once that is certain. The caller raises the product's version."""
    names = [str(picture.file.name), *_names_of_copies(picture).values()]
    picture.delete()
    transaction.on_commit(lambda: bucket.delete(*names), robust=True)


# --- copies ----------------------------------------------------------------------------------------------------------
def make_copies(*, image_id: int) -> None:
    """Make the smaller copies of a picture. Twice is harmless, and of one that was removed nothing stays behind.

    One that cannot be made smaller is shown as it is in their places.
    Network, so outside of any transaction. Raises StorageAway.
    """
    from catalog import images  # Pillow

    image = ProductImage.objects.lacking_copies().filter(pk=image_id).first()
    if image is None:  # removed
        return
    names = _names_of_copies(image)
    shown = ProductImage.objects.shown().filter(pk=image.pk)
    stored = bucket.read(str(image.file.name))
    content = stored.content if stored else b""  # a file that is gone cannot be made smaller either
    try:
        for column, name in names.items():
            bucket.put(name, images.shrink(content, COPIES[column]), content_type="image/webp")
    except images.Unfit as unfit:
        if shown.update(**dict.fromkeys(COPIES, str(image.file.name))):  # or the sweep would ask for them every day
            log.warning("a picture is its own copies", image=image.pk, reason=str(unfit))
        bucket.delete(*names.values())
        return
    if not shown.update(**names):
        bucket.delete(*names.values())


def _names_of_copies(image: ProductImage) -> dict[str, str]:
    """By column: named after their picture, so that whoever removes it knows them before they are made."""
    stem = str(image.file.name).rpartition(".")[0]
    return {column: f"{stem}-{width}.webp" for column, width in COPIES.items()}
