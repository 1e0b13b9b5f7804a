"""What is in a file that says it is a picture, by Pillow. Called by catalog.pictures when one is at hand, never before.

Everything written here is made of pixels alone (docs/decisions/0016).
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps
from PIL.JpegImagePlugin import get_sampling

from catalog.models import PICTURE_TYPES

MOST_PIXELS = 40_000_000
LONGEST_SIDE = 10_000
FORMATS: Mapping[str, str] = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/gif": "GIF"}
COLOURS = {"JPEG": {"L", "RGB", "CMYK"}, "WEBP": {"RGB", "RGBA"}}  # what each can be written in; the others in any
# What is a picture to one program and a page to another. Words long enough to be no accident of compressed bytes.
PAGE = re.compile(rb"<script|<iframe|<!doctype|<\?php\s|javascript:", re.IGNORECASE)


class Unfit(Exception):
    """The file is no picture for the shop; the message says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was looked at, as it may be shown."""

    content: bytes
    content_type: str
    width: int
    height: int

    @property
    def ending(self) -> str:
        """How its file ends."""
        return PICTURE_TYPES[self.content_type]


def type_of(content: bytes) -> str:
    """The type that a file's first bytes speak of, or "" where it is none of ours."""
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return "image/gif" if content.startswith((b"GIF87a", b"GIF89a")) else ""


def examine(content: bytes, content_type: str = "") -> Picture:
    """Read a file to its last pixel and write it anew: upright, in its colours, without anything else in it.

    ``content_type`` is what it was said to be, if anything was. Raises Unfit for every file that is something else,
    moves, is too large to open, or is broken.
    """
    found = type_of(content)
    if not found:
        raise Unfit("The file is no picture that every browser shows: choose a JPEG, PNG, WebP or GIF.")
    if content_type and found != content_type:
        raise Unfit(f"The file is {_name(found)}, not {_name(content_type)} as was said: upload it as what it is.")
    if PAGE.search(content):
        raise Unfit("There is a script or a page inside of the file: export the picture anew and upload that.")
    try:
        with Image.open(io.BytesIO(content), formats=[FORMATS[found]]) as picture:
            _check_size(*picture.size)
            _check_still(picture, found)
            picture.load()
            written = _write(picture, FORMATS[found])
            return Picture(written, found, *picture.size)
    except Unfit:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unfit(f"The picture has more than {MOST_PIXELS // 10**6} million pixels: scale it down.") from None
    except Exception as error:
        raise Unfit("The picture is broken or was cut off: export it anew, then upload it again.") from error


def _name(content_type: str) -> str:
    return f"a {FORMATS.get(content_type, content_type[:80])}".replace("WEBP", "WebP")


def _check_size(width: int, height: int) -> None:
    """Before a pixel is unpacked: a small file may hold more of them than there is memory."""
    if max(width, height) > LONGEST_SIDE or width * height > MOST_PIXELS:
        raise Unfit(
            f"The picture has {width:,} × {height:,} pixels; at most {LONGEST_SIDE:,} a side and "
            f"{MOST_PIXELS // 10**6} million in all can be shown: scale it down."
        )


def _check_still(picture: Any, content_type: str) -> None:
    """A JPEG from a telephone may hold a second picture for depth or light; the first is the one."""
    if content_type != "image/jpeg" and getattr(picture, "is_animated", False):
        raise Unfit("The picture moves: save one frame of it as a still, and upload that.")


def _write(picture: Any, form: str) -> bytes:
    """The pixels in the same format: turned upright, with their colours' profile, and without EXIF, XMP or comments."""
    options: dict[str, Any] = {}
    if form == "JPEG":  # with its own tables: as good as it was, and as large
        options = {"quality": -1, "qtables": picture.quantization, "subsampling": get_sampling(picture)}
    ImageOps.exif_transpose(picture, in_place=True)
    profile = picture.info.get("icc_profile")
    picture.info = {name: picture.info[name] for name in ("transparency", "background") if name in picture.info}
    return _save(picture, form, profile, **options)


def shrink(content: bytes, width: int) -> bytes:
    """The picture as WebP at most so wide and twice as high, for what ``examine`` has written. Never enlarged.

    Raises Unfit where Pillow cannot; what memory cannot hold now it may hold the next time.
    """
    try:
        return _shrunk(content, width)
    except MemoryError:
        raise
    except Exception as error:
        raise Unfit(f"{type(error).__name__}: {error}") from error


def _shrunk(content: bytes, width: int) -> bytes:
    with Image.open(io.BytesIO(content)) as picture:
        picture.draft("RGB", (2 * width, 4 * width))  # a large JPEG is unpacked at a fraction of its size
        profile = picture.info.get("icc_profile") if picture.mode in {"RGB", "RGBA", "P"} else None
        small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((width, 2 * width), Image.Resampling.LANCZOS)
    small.info = {}
    return _save(small, "WEBP", profile)


def _save(picture: Image.Image, form: str, profile: bytes | None, **options: Any) -> bytes:
    written = io.BytesIO()
    if picture.mode not in COLOURS.get(form, {picture.mode}):
        picture = picture.convert("RGB")
    if form == "WEBP":
        options = {"quality": 88, "method": 3}
    elif form == "PNG":
        options = {"compress_level": 4}  # a tenth larger than 6, in half the time: somebody waits
    if profile:
        options["icc_profile"] = profile
    picture.save(written, form, **options)
    return written.getvalue()
