"""What is known of a stage's deployments: lock, journal and releases, in one object of the bucket of packages.

Every write is conditional on the object that was read before, so that of two writers one succeeds; whoever lost the
lock finds out before the next step. Whether a lock has expired is told by S3's clock alone: its holder writes it anew.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.deploying.account import Refused, code_of

KEY = "deployment.json"
LEASE = 300  # seconds: a lock whose holder has written nothing for so long may be taken
RENEWED = 60  # seconds between two writes of a holder that works
SURE = 2 * RENEWED  # seconds after a write within which nobody asks whether the lock is still ours
KEPT = 10  # releases, with their packages


class Held(Refused):
    """Somebody else deploys this stage."""


class Lost(Exception):
    """Somebody else has written to the record: we no longer hold the lock, and must do nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What can be gone back to as one: code, static files, and the schema as far as it was expanded."""

    name: str  # /healthz says it: the commit, or the tag that was given
    source: str  # its code: the commit and what was changed since
    stacks: str = ""  # the digest of the templates that it was deployed with
    package: str = ""  # its key in the bucket of packages
    sha256: str = ""
    previous: str = ""  # the release that was deployed before
    migrations: tuple[str, ...] = ()  # that it brought; they stay when it goes
    at: str = ""

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Release":
        """As the record has it."""
        return cls(**{**told, "migrations": tuple(told["migrations"])})


@dataclass
class Attempt:
    """A deploy or a way back that was begun: what of it is done, by the names of its steps."""

    kind: str
    release: Release
    steps: dict[str, str] = field(default_factory=dict)  # its verdict; BEGUN until there is one
    backing_out: bool = False


BEGUN = "begun"


class Record:
    """The record of one stage. Reading needs nothing; whoever changes it takes the lock first."""

    def __init__(self, s3: Any, bucket: str, owner: str) -> None:
        self._s3, self._bucket, self._owner = s3, bucket, owner
        self._id = uuid.uuid4().hex
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._lost = threading.Event()
        self._written = 0.0
        self._etag = ""
        self._told: dict[str, Any] = {}
        self.attempt: Attempt | None = None
        self.releases: dict[str, Release] = {}
        self.current = ""
        self._idle = 0.0
        self.read()

    def read(self) -> None:
        """Look at it anew."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=KEY)
        except ClientError as error:
            if code_of(error) not in {"NoSuchKey", "NoSuchBucket", "404"}:
                raise
            self._etag, self._told = "", {}
            return
        self._told = json.loads(answer["Body"].read())
        self._etag = answer["ETag"]
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(told) if told else datetime.now(UTC)
        self._idle = (now - answer["LastModified"]).total_seconds()
        attempt = self._told.get("attempt")
        self.attempt = attempt and Attempt(**{**attempt, "release": Release.of(attempt["release"])})
        self.releases = {each["name"]: Release.of(each) for each in self._told["releases"]}
        self.current = self._told["current"]

    # --- the lock ----------------------------------------------------------------------------------------------------
    def holder(self) -> str:
        """Who holds the lock, and since when; empty where nobody does."""
        lock = self._told.get("lock")
        return f"{lock['owner']}, since {lock['since']}" if lock and self._idle < LEASE else ""

    def check_free(self, *, break_lock: bool = False) -> None:
        """Raises Held where somebody has the lock, unless it is to be broken."""
        if (holder := self.holder()) and not break_lock:
            raise Held(
                f"This stage is being deployed by {holder}. Wait for it: its lock ends {LEASE} s after its last sign "
                "of life. If you know that it is dead: --break-lock."
            )

    def take(self, *, break_lock: bool = False) -> None:
        """Take the lock, and keep it until `release`. Raises Held, unless it has expired or is to be broken."""
        self.check_free(break_lock=break_lock)
        self._over.clear()
        self._lost.clear()
        self._told["lock"] = {"owner": self._owner, "id": self._id, "since": _now()}
        try:
            self._write()
        except Lost:
            raise Held("Somebody else has just begun to deploy this stage.") from None
        threading.Thread(target=self._keep, name="lock", daemon=True).start()

    def release(self) -> None:
        """Let go of it."""
        self._over.set()
        with self._guard:
            self._told["lock"] = None
            self._write()

    def still_ours(self) -> bool:
        """Whether we hold the lock: asked within a step that lasts. After a silence (a laptop that slept) S3 tells."""
        with self._guard:
            if not self._written or self._lost.is_set() or self._over.is_set():
                return False
            if (silent := time.time() - self._written) < SURE:
                return True
            try:
                self._write()
            except Lost:
                return False
            except (BotoCoreError, ClientError):
                return silent < LEASE
            return True

    def _keep(self) -> None:
        while not self._over.wait(RENEWED):
            with self._guard:
                if self._over.is_set():
                    return
                try:
                    self._write()
                except Lost:
                    return  # the next step finds out, and who asks still_ours within one
                except (BotoCoreError, ClientError):
                    continue  # S3 is away for a moment; the lease is longer than that

    # --- what is written ---------------------------------------------------------------------------------------------
    def change(self, make: Callable[["Record"], object]) -> None:
        """Let ``make`` change attempt, releases or current, and write them. Raises Lost where the lock is gone."""
        with self._guard:
            make(self)
            self._write()

    def begin(self, attempt: Attempt) -> None:
        """Begin a deploy or a way back."""
        self.change(lambda mine: setattr(mine, "attempt", attempt))

    def note(self, step: str, verdict: str) -> None:
        """A step of the attempt was begun, or done; an empty verdict: it was taken back."""

        def make(mine: Record) -> None:
            steps = begun(mine).steps
            if verdict:
                steps[step] = verdict
            else:
                steps.pop(step, None)

        self.change(make)

    def learn(self, release: Release) -> None:
        """More is known of what is deployed."""
        self.change(lambda mine: setattr(begun(mine), "release", release))

    def finish(self, current: Release | None) -> list[Release]:
        """The attempt is over, and this the current release (None: the one before stays); what may be forgotten."""
        gone: list[Release] = []

        def make(mine: Record) -> None:
            mine.attempt = None
            if current:
                mine.releases.pop(current.name, None)
                mine.releases[current.name] = current
                mine.current = current.name
            needed = {mine.current, mine.releases[mine.current].previous} if mine.current else set()
            old = [name for name in list(mine.releases)[:-KEPT] if name not in needed]
            gone.extend(mine.releases.pop(name) for name in old)

        self.change(make)
        return gone

    def _write(self) -> None:
        self._told = {
            "lock": self._told.get("lock"),
            "attempt": asdict(self.attempt) if self.attempt else None,
            "releases": [asdict(each) for each in self.releases.values()],
            "current": self.current,
        }
        body = json.dumps(self._told, indent=1).encode()
        condition = {"IfMatch": self._etag} if self._etag else {"IfNoneMatch": "*"}
        try:
            answer = self._s3.put_object(Bucket=self._bucket, Key=KEY, Body=body, **condition)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in {409, 412}:
                raise
            found = self._s3.get_object(Bucket=self._bucket, Key=KEY)
            if found["Body"].read() != body:  # else it is ours, and the answer to the first try got lost
                self._lost.set()
                raise Lost("Somebody else has written the record of this stage.") from None
            answer = found
        self._etag = answer["ETag"]
        self._written = time.time()


def begun(record: Record) -> Attempt:
    """The attempt that is being made. Raises Lost where there is none any more."""
    if record.attempt is None:
        raise Lost("The record of this stage has no deploy that was begun.")
    return record.attempt


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
