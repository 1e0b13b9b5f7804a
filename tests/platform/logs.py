"""The log as an operator reads it: what the configured handler writes, line by line."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def read_log() -> Iterator[list[dict[str, Any]]]:
    """The lines written inside the block; each must be one JSON object."""
    [handler] = [h for h in logging.getLogger().handlers if h.get_name() == "stdout"]
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    lines: list[dict[str, Any]] = []
    before = handler.setStream(stream)
    try:
        yield lines
    finally:
        handler.setStream(before)
        lines += [json.loads(line) for line in stream.getvalue().splitlines()]
