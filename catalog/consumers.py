"""What happens when a fact of the catalogue comes out of a queue, or by the clock. Called by vibecode.lambda_entry."""

import functools
from typing import Any

import structlog

from catalog.pictures import ask_for_copies, make_copies, sweep_uploads
from vibecode.inbox import handle_once

log = structlog.stdlib.get_logger("catalog.consumers")


def on_picture_stored(message: dict[str, Any]) -> None:
    """Pictures: make the smaller copies of one."""
    detail = message["detail"]
    effect = functools.partial(make_copies, image_id=detail["imageId"])
    handle_once(consumer="pictures", event_id=detail["eventId"], effect=effect)


def sweep() -> None:
    """The schedule sweep-uploads."""
    forgotten, asked = sweep_uploads(), ask_for_copies()
    if forgotten or asked:
        log.info("sweep of pictures", forgotten=forgotten, asked=asked)
