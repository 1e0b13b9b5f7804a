"""SQS of the local AWS: moto's queues made safe and quick under threads, and what feeds a function from one.

Used by aws.py. moto loses a message that is sent while another is deleted, gives one to two receivers, counts the whole
queue at each send, and invokes functions inside the sender's request, one message at a time.
"""

import copy
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from moto.core.utils import unix_time_millis
from moto.moto_api._internal import mock_random
from moto.sqs.models import Message, SQSBackend, _filter_message_attributes
from moto.sqs.models import Queue as MotoQueue

from vibecode.local.functions import Runtime, RuntimeLost
from vibecode.local.mend import mend

MOST_AT_ONCE = 1000  # invocations of one mapping that names no limit, as on AWS
LOOK_UP = 10  # seconds between two looks whether a mapping is still there
LOOK_AGAIN = 0.2  # seconds between two looks for a runtime that is not there
AFTER_LOSS = 1  # seconds until a batch of a lost invocation is given out again; AWS waits for the visibility time-out,
# but there a function is not gone for good, and here it is started again at once

log = logging.getLogger(__name__)


# --- moto's queues ---------------------------------------------------------------------------------------------------
def correct_sqs() -> None:
    """Make moto's standard queues do as SQS does. None of ours is a FIFO queue, and none would work."""
    delete, change = MotoQueue.delete_message, SQSBackend.change_message_visibility

    def delete_message(queue: MotoQueue, receipt_handle: str) -> None:
        with queue._messages_lock:  # noqa: SLF001 -- moto offers no other lock
            delete(queue, receipt_handle)

    def change_visibility(backend: SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int) -> None:
        with (lock := backend.get_queue(queue_name)._messages_lock):  # noqa: SLF001 -- moto offers no other lock
            change(backend, queue_name, receipt_handle, visibility_timeout)
            lock.notify_all()

    mend(MotoQueue, "add_message", _add)
    mend(MotoQueue, "delete_message", delete_message)
    mend(SQSBackend, "send_message", _send)
    mend(SQSBackend, "receive_message", _receive)
    mend(SQSBackend, "change_message_visibility", change_visibility)


def wait_for_message(queue: Any, seconds: float) -> bool:
    """Until a message may be received, so long at most; tell whether there is one."""
    deadline = time.monotonic() + seconds
    with (lock := queue._messages_lock):  # noqa: SLF001 -- moto offers no other lock
        while (away := _next_in(queue)) > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            lock.wait(min(away, left))
    return True


def _next_in(queue: Any) -> float:
    """Seconds until the next message may be received."""
    times = (max(message.visible_at, message.delayed_until) for message in queue._messages)  # noqa: SLF001 -- see above
    return (min(times, default=float("inf")) - unix_time_millis()) / 1000


def _add(queue: MotoQueue, message: Message) -> None:
    with (lock := queue._messages_lock):  # noqa: SLF001 -- moto offers no other lock
        queue._messages.append(message)  # noqa: SLF001 -- as moto does it
        lock.notify_all()


def _send(
    backend: SQSBackend,
    queue_name: str,
    message_body: str,
    message_attributes: dict[str, Any] | None = None,
    delay_seconds: int | None = None,
    system_attributes: dict[str, Any] | None = None,
    **_: object,
) -> Message:
    queue: Any = backend.get_queue(queue_name)  # moto sets its attributes by their names
    delay = int(queue.delay_seconds if delay_seconds is None else delay_seconds)
    backend._validate_message(queue, message_body, delay)  # noqa: SLF001 -- as moto does it
    message = Message(str(mock_random.uuid4()), message_body, system_attributes)
    message.message_attributes = message_attributes or {}
    message.mark_sent(delay_seconds=delay)
    queue.add_message(message)
    return message


def _receive(
    backend: SQSBackend,
    queue_name: str,
    count: int,
    wait_seconds_timeout: float,
    visibility_timeout: int,
    message_attribute_names: list[str] | None = None,
) -> list[Message]:
    queue = backend.get_queue(queue_name)
    deadline = time.monotonic() + wait_seconds_timeout
    while not (taken := _take(queue, count, visibility_timeout)):
        if not wait_for_message(queue, deadline - time.monotonic()):
            break
        if time.monotonic() > deadline:
            break
    for message in taken:
        _filter_message_attributes(message, message_attribute_names or [])
    return taken


def _take(queue: Any, count: int, visibility_timeout: int) -> list[Message]:
    """Copies of the next messages, hidden from others; what was received too often goes to the dead-letter queue."""
    taken: list[Message] = []
    dead: list[Message] = []
    policy = queue.redrive_policy or {}
    with queue._messages_lock:  # noqa: SLF001 -- moto offers no other lock
        now = unix_time_millis()
        for message in queue._messages:  # noqa: SLF001 -- as moto does it
            if len(taken) == count:
                break
            if max(message.visible_at, message.delayed_until) > now:
                continue
            if queue.dead_letter_queue and message.approximate_receive_count >= policy["maxReceiveCount"]:
                dead.append(message)
                continue
            message.mark_received(visibility_timeout=visibility_timeout)
            taken.append(copy.deepcopy(message))
        for message in dead:
            queue._messages.remove(message)  # noqa: SLF001 -- as moto does it
            queue.dead_letter_queue.add_message(message)
    return taken


# --- what feeds a function -------------------------------------------------------------------------------------------
def correct_mappings(backend: SQSBackend, runtime: Runtime) -> None:
    """Let each event source mapping of a queue that Lambda is told to make poll it, until it is told to delete it."""
    from moto.awslambda.models import LambdaBackend

    make, delete = LambdaBackend.create_event_source_mapping, LambdaBackend.delete_event_source_mapping
    pollers: dict[str, Poller] = {}

    def create(functions: LambdaBackend, spec: dict[str, Any]) -> Any:
        made = make(functions, spec)
        most = spec.get("ScalingConfig", {}).get("MaximumConcurrency", MOST_AT_ONCE)
        queue = backend.get_queue(made.event_source_arn.rpartition(":")[2])
        pollers[made.uuid] = Poller(queue, backend, made.function_arn, made.batch_size, most, runtime)
        pollers[made.uuid].start()
        return made

    def forget(functions: LambdaBackend, uuid: str) -> Any:
        if poller := pollers.pop(uuid, None):
            poller.stop()
        return delete(functions, uuid)

    mend(LambdaBackend, "create_event_source_mapping", create)
    mend(LambdaBackend, "delete_event_source_mapping", forget)


class Poller:
    """What an event source mapping does: gives a queue's messages to the function in batches.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    While the runtime accepts no connections nothing is received: a receive counts towards the dead-letter queue.
    """

    def __init__(
        self, queue: Any, backend: SQSBackend, function: str, batch_size: int, most_at_once: int, runtime: Runtime
    ) -> None:
        self._backend = backend
        self._queue = queue
        self._function = function
        self._runtime = runtime
        self._batch_size = batch_size
        self._free = threading.Semaphore(most_at_once)
        self._pool = ThreadPoolExecutor(most_at_once, queue.name)
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin, in threads of its own."""
        threading.Thread(target=self._run, name=self._queue.name, daemon=True).start()

    def stop(self) -> None:
        """Receive no more; what is in work is finished."""
        self._stopped.set()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._pool.submit(self._work, batch)
        self._pool.shutdown(wait=False)

    def _next_batch(self) -> list[Message]:
        """What to do next, once somebody is free for it; nothing when stopped."""
        self._free.acquire()
        batch: list[Message] = []
        while not batch and not self._stopped.is_set():
            if not wait_for_message(self._queue, LOOK_UP) or self._stopped.is_set():
                continue
            if self._runtime.listens():
                batch = _take(self._queue, self._batch_size, self._queue.visibility_timeout)
            else:
                time.sleep(LOOK_AGAIN)
        return batch

    def _work(self, batch: Sequence[Message]) -> None:
        try:
            event = {"Records": [self._record(message) for message in batch]}
            outcome = self._runtime.invoke(self._function, event)
            if outcome.failed:
                raise RuntimeLost(f"{outcome.payload.get('errorType')}: {outcome.payload.get('errorMessage')}")  # noqa: TRY301 -- both bring the batch back
            failed = {item["itemIdentifier"] for item in (outcome.payload or {}).get("batchItemFailures", [])}
            for message in batch:
                if message.id not in failed:
                    self._backend.delete_message(self._queue.name, str(message.receipt_handle))
        except Exception as error:  # noqa: BLE001 -- the mapping lives on, whatever came back
            log.warning("%s: a batch of %d comes back: %s", self._queue.name, len(batch), error)
            for message in batch:
                self._backend.change_message_visibility(self._queue.name, str(message.receipt_handle), AFTER_LOSS)
        finally:
            self._free.release()

    def _record(self, message: Message) -> dict[str, Any]:
        """https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event ."""
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.approximate_receive_count),
                "SentTimestamp": str(message.sent_timestamp),
                "SenderId": message.sender_id,
                "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
            },
            "messageAttributes": {},  # none of ours has any
            "md5OfBody": message.body_md5,
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queue.queue_arn,
            "awsRegion": self._queue.region,
        }
