"""The media bucket: what browsers put there under our signature, what we look at, what everybody sees.

Called by services outside of transactions, for all of it but the signing is network. Keys say who may read: what stands
under UPLOADS nobody but us, all else the public.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from vibecode import aws
from vibecode.errors import Away

FOR_EVER = "public, max-age=31536000, immutable"  # a key never gets other content
MISSING = {"NoSuchKey", "404"}
TAKEN = "PreconditionFailed"


class StorageAway(Away):
    """S3 does not answer, or does not let us."""

    code = "storage-away"
    title = "The storage of pictures does not answer right now"


@dataclass(frozen=True, slots=True)
class Form:
    """What a browser posts to S3: the fields in this order, then the file as ``file``."""

    url: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies under a key: how many bytes of what, and the bytes unless they are more than was asked for."""

    size: int
    content_type: str
    content: bytes


def sign_form(key: str, *, content_type: str, most: int, seconds: int) -> Form:
    """A presigned POST for exactly this key and type and at most so many bytes. No network.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
    """
    signed = aws.client("s3").generate_presigned_post(
        settings.MEDIA_BUCKET,
        key,
        Fields={"Content-Type": content_type},
        Conditions=[{"Content-Type": content_type}, ["content-length-range", 1, most]],
        ExpiresIn=seconds,
    )
    return Form(url=signed["url"], fields=signed["fields"])


def read(key: str, *, most: int | None = None) -> Stored | None:
    """What lies under a key, None where nothing does. Raises StorageAway."""
    with _or_away():
        try:
            found = aws.client("s3").get_object(Bucket=settings.MEDIA_BUCKET, Key=key)
        except aws.service_errors() as error:
            if aws.error_code(error) in MISSING:
                return None
            raise
        with found["Body"] as body:
            size = found["ContentLength"]
            return Stored(size, found["ContentType"], body.read() if most is None or size <= most else b"")


def put(key: str, content: bytes, *, content_type: str) -> None:
    """Lay bytes under a key for everybody to see, for good. Raises StorageAway."""
    with _or_away():
        _put(key, content, content_type)


def put_first(key: str, content: bytes, *, content_type: str) -> bool:
    """The same, but False, and nothing done, where something lies there already. Raises StorageAway.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """
    with _or_away():
        try:
            _put(key, content, content_type, IfNoneMatch="*")
        except aws.service_errors() as error:
            if aws.error_code(error) == TAKEN:
                return False
            raise
    return True


def _put(key: str, content: bytes, content_type: str, **more: Any) -> None:
    aws.client("s3").put_object(
        Bucket=settings.MEDIA_BUCKET, Key=key, Body=content, ContentType=content_type, CacheControl=FOR_EVER, **more
    )


def keep(key: str, content: bytes, *, content_type: str, file_name: str) -> None:
    """Lay bytes under a key of UPLOADS, for those alone to whom we sign a link. Raises StorageAway."""
    with _or_away():
        aws.client("s3").put_object(
            Bucket=settings.MEDIA_BUCKET,
            Key=key,
            Body=content,
            ContentType=content_type,
            ContentDisposition=f'attachment; filename="{file_name}"',
            CacheControl="private, no-store",
        )


def sign_link(key: str, *, seconds: int) -> str:
    """An address at which whoever has it may read what lies under a key, for so long. No network."""
    link: str = aws.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": settings.MEDIA_BUCKET, "Key": key}, ExpiresIn=seconds
    )
    return link


def delete(*keys: str) -> None:
    """Remove what lies under these keys; where nothing does is fine. Raises StorageAway."""
    with _or_away():
        for key in keys:
            aws.client("s3").delete_object(Bucket=settings.MEDIA_BUCKET, Key=key)


@contextmanager
def _or_away() -> Iterator[None]:
    try:
        yield
    except aws.service_errors() as error:
        reason = aws.error_code(error) or type(error).__name__
        raise StorageAway(f"S3 does not do what we ask ({reason}): try again in a moment.") from error
