"""Files and people for jobs, and a worker that is given a job's messages one by one through the real Lambda entry."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Group

from accounts.models import User
from accounts.services import register_user, take_over_groups
from tests.orders.test_consumers import deliver
from tests.plain import PLAIN
from tests.platform.bus import make_queues
from vibecode import aws
from vibecode.jobs.files import begin_import, take_file
from vibecode.jobs.running import begin_job
from vibecode.models import Job
from vibecode.rights import Actor


@dataclass
class Clerk:
    """Somebody who works here, and what their page does."""

    user: User
    queue: str

    @property
    def actor(self) -> Actor:
        """With the rights of their groups."""
        return Actor.person(self.user.cognito_sub, self.user.groups.values_list("name", flat=True))

    def leaves(self, *groups: str) -> None:
        """Take groups away."""
        self.user.groups.remove(*Group.objects.filter(name__in=groups))

    def uploads(self, kind: str, content: bytes | str, name: str = "file.csv") -> Job:
        """Send a file straight to S3; the worker reads it."""
        job = self.sends(kind, content, name)
        self.works()
        return Job.objects.get(pk=job.pk)

    def sends(self, kind: str, content: bytes | str, name: str = "file.csv") -> Job:
        """Send a file straight to S3; nobody has read it yet."""
        content = content.encode() if isinstance(content, str) else content
        job, form = begin_import(kind=kind, file_name=name, size=len(content), actor=self.actor)
        self.stores(form, content)
        take_file(job=job, actor=self.actor)
        return Job.objects.get(pk=job.pk)

    def stores(self, form: Any, content: bytes) -> None:
        """Post a file as a browser does."""
        files = {"file": ("blob", content)}
        assert httpx.post(form.url, data=dict(form.fields), files=files, **PLAIN).status_code == 204

    def runs(self, job: Job) -> Job:
        """Begin it; the worker does all of it."""
        begin_job(job=job, actor=self.actor)
        self.works()
        return Job.objects.get(pk=job.pk)

    def messages(self) -> list[Any]:
        """Take what the queue holds."""
        sqs, found = aws.client("sqs"), []
        while taken := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in taken:
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
        return found

    def works(self) -> None:
        """Let the worker do every message."""
        for message in self.messages():
            assert deliver("jobs", message) == []


@pytest.fixture
def hire(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Clerk]:
    """A maker of people of these groups, over a queue that is this test's alone."""
    monkeypatch.setattr("vibecode.lambda_entry.close_old_connections", lambda: None)
    queue = make_queues(settings)("jobs")

    def make(*groups: str) -> Clerk:
        name = "-".join(groups)
        user = register_user(sub=f"sub-of-{name}", email=f"{name}@example.com")
        return Clerk(take_over_groups(user=user, groups=groups), queue)

    return make


@pytest.fixture
def clerk(hire: Callable[..., Clerk]) -> Clerk:
    """Somebody who may do all of it."""
    return hire("staff")
