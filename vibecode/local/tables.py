"""DynamoDB as AWS has it: a condition and the write that hangs on it are one step, and items last. Called by aws.py."""

import functools
import json
import threading
from collections.abc import Callable

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends
from moto.dynamodb.models.utilities import dynamo_json_dump

from vibecode.local.aws_memory import Memory
from vibecode.local.mend import mend
from vibecode.local.names import REGION

READS = ("get_item", "query", "scan")
WRITES = ("put_item", "update_item", "delete_item")


def correct_dynamodb(memory: Memory) -> None:
    """One call after the other: between two threads moto would let both past a condition that only one may pass.

    Every table is written down after a change. They hold a few connections, so that a whole one is soon written.
    """
    lock = threading.RLock()
    for name in READS:
        mend(DynamoDBBackend, name, _alone(getattr(DynamoDBBackend, name), lock))
    for name in WRITES:
        mend(DynamoDBBackend, name, _alone(_kept(getattr(DynamoDBBackend, name), memory), lock))


def put_back(memory: Memory) -> None:
    """Fill the tables with what they held."""
    backend = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION]
    for name, items in list(memory.tables()):
        for item in items if name in backend.tables else ():
            backend.get_table(name).put_item(item)


def _kept[T](call: Callable[..., T], memory: Memory) -> Callable[..., T]:
    @functools.wraps(call)
    def run(backend: DynamoDBBackend, table_name: str, *args: object, **kwargs: object) -> T:
        result = call(backend, table_name, *args, **kwargs)
        items = [item.to_json()["Attributes"] for item in backend.get_table(table_name).all_items()]
        memory.save_table(table_name, json.loads(dynamo_json_dump(items)))
        return result

    return run


def _alone[**P, T](call: Callable[P, T], lock: threading.RLock) -> Callable[P, T]:
    @functools.wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            return call(*args, **kwargs)

    return run
