"""A Lambda runtime over a function of a few lines, to be killed. Run by the tests: small_function.py PORT FOLDER."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from vibecode.local.lambda_runtime import Server

SEEN = Path(sys.argv[2]) / "seen"


class CardDeclined(Exception):
    """What a step may raise."""


def function(event: dict[str, Any], _: object) -> dict[str, Any]:
    """Write down that it was called, then do as the event says."""
    if event.get("source") == "aws.events" or "Records" in event:
        return {}  # the clock, and a message that an earlier test left on its way
    first = not SEEN.exists()
    with SEEN.open("a") as seen:
        seen.write(json.dumps(event) + "\n")
    if event.get("sleep"):
        time.sleep(float(event["sleep"]))
    if event.get("hang_once") and first:
        time.sleep(60)
    if event.get("decline"):
        raise CardDeclined("no")
    return {"orderId": event.get("orderId")}


if __name__ == "__main__":
    Server(int(sys.argv[1]), function, 8).serve_forever()
