"""The deployed shop as the steps of a rehearsal know it: where it is, what it runs on, who visits it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infrastructure.hand_over import Document
from infrastructure.rehearsal.account import Account
from infrastructure.rehearsal.visitors import Person, Web, expect
from infrastructure.rehearsal.zappa import Zappa
from vibecode.local.fleet import Fleet
from vibecode.local.parts import Parts
from vibecode.local.rest_gateway import Api


@dataclass(frozen=True)
class Engines:
    """What the stage runs on, to be taken away for a while."""

    parts: Parts

    def sleep(self, seconds: float) -> None:
        """PostgreSQL is away for so long, as an Aurora that was paused."""
        self.parts.stop("postgres")
        time.sleep(seconds)
        self.parts.start("postgres")


@dataclass
class Deployed:
    """The shop as Zappa has deployed it, and who visits it."""

    account: Account
    fleet: Fleet
    api: Api
    document: Document
    zappa: Zappa
    engines: Engines
    public: Web  # behind the public origin
    bare: Web  # at API Gateway's own address
    first: Path
    second: Callable[[], Path]
    people: dict[str, Person] = field(default_factory=dict)
    sku: str = ""

    def operate(self, operation: str, **arguments: Any) -> Any:
        """An operation of the worker, as the engineer asks for it with Lambda's Invoke. Raises WentWrong."""
        answer = self.account.client("lambda").invoke(
            FunctionName=self.account.resources.worker,
            Payload=json.dumps({"operation": operation, "arguments": arguments}),
        )
        payload = json.loads(answer["Payload"].read())
        expect("FunctionError" not in answer, f"{operation}: {payload}")
        return payload
