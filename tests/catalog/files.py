"""Files that are pictures, and files that say they are. Called by the tests of pictures."""

import io
import struct
import zlib
from typing import Any

from PIL import Image

ORIENTATION, CAMERA, GPS = 0x0112, 0x010F, 0x8825


def a_picture(form: str = "PNG", size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: Any) -> bytes:
    """A small picture, one half teal."""
    image = Image.new("RGB", size)
    image.paste("teal", (0, 0, size[0] // 2, size[1]))
    image = image.convert(mode)
    if mode == "RGBA":
        image.putalpha(128)
    written = io.BytesIO()
    image.save(written, form, **options)
    return written.getvalue()


def from_a_telephone() -> bytes:
    """A JPEG that lies on its side and says where it was taken, with what, and of which words."""
    told = Image.Exif()
    told[ORIENTATION], told[CAMERA] = 6, "Nosy Cameras"
    told.get_ifd(GPS)[1] = "N"
    return a_picture("JPEG", (64, 48), exif=told, comment=b"a secret", icc_profile=b"colours of a telephone")


def a_moving_one(form: str) -> bytes:
    """Two frames."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("teal", "red")]
    written = io.BytesIO()
    frames[0].save(written, form, save_all=True, append_images=frames[1:], duration=100)
    return written.getvalue()


def a_bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few bytes that says it has thousands of millions of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def opened(content: bytes) -> Image.Image:
    """A picture, read whole."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image
