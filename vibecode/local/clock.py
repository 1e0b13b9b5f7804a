"""EventBridge's schedules of the local AWS, which moto does not fire. Used by aws.py."""

import logging
import threading
import time
import uuid
from datetime import UTC, datetime

from vibecode.local.functions import Runtime, RuntimeLost
from vibecode.resources import Resources, Schedule

log = logging.getLogger(__name__)


def start_clock(schedule: Schedule, resources: Resources, runtime: Runtime) -> None:
    """Fire a schedule every so many seconds while the runtime is there; never a second time while the first runs."""

    def run() -> None:
        while True:
            time.sleep(schedule.local_seconds)
            if runtime.listens():
                try:
                    outcome = runtime.invoke(resources.worker_arn, scheduled_event(schedule, resources))
                    failure = outcome.payload if outcome.failed else None
                except RuntimeLost as lost:
                    failure = lost
                if failure:
                    log.warning("schedule %s failed: %s", schedule.key, failure)

    threading.Thread(target=run, name=schedule.key, daemon=True).start()


def scheduled_event(schedule: Schedule, resources: Resources) -> dict[str, object]:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html ."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": resources.account,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": resources.region,
        "resources": [resources.rule_arn(schedule.key)],
        "detail": {},
    }
