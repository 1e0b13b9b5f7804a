"""What is known of a stage's deployments: lock, journal and releases, in one object of the bucket of packages.

Every write is conditional on the object that was read before, so that of two writers one succeeds; whoever lost the
lock finds out before the next step. Whether a lock has expired is told by S3's clock alone: its holder writes it anew.
What an attempt ends with and that the stage is free again are one write: nobody finds the one without the other.
Longer than most modules: lock, journal and releases are one object, and each write answers for all of them.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
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
TRIES, PAUSE = 5, 1  # how often a write that meets another one of ours is tried, and the seconds between
CONFLICT = {409, 412}  # S3 says one of them where something else was written, or is being written


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


BEGUN = "begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A deploy or a way back that was begun: what of it is done, by the names of its steps."""

    kind: str  # deploy or rollback
    release: Release  # that comes, or comes back
    steps: Mapping[str, str] = field(default_factory=dict)  # its verdict; BEGUN until there is one
    backing_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the object says."""

    lock: Mapping[str, str] | None = None
    attempt: Attempt | None = None
    releases: Mapping[str, Release] = field(default_factory=dict)
    current: str = ""

    @classmethod
    def of(cls, body: bytes) -> "Known":
        """As it was written; nothing where nothing was."""
        if not body:
            return cls()
        told = json.loads(body)
        attempt = told["attempt"]
        return cls(
            lock=told["lock"],
            attempt=attempt and Attempt(**{**attempt, "release": Release.of(attempt["release"])}),
            releases={each["name"]: Release.of(each) for each in told["releases"]},
            current=told["current"],
        )

    def body(self) -> bytes:
        """To be written."""
        told = {
            "lock": self.lock,
            "attempt": asdict(self.attempt) if self.attempt else None,
            "releases": [asdict(each) for each in self.releases.values()],
            "current": self.current,
        }
        return json.dumps(told, indent=1).encode()


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
        self._known = Known()
        self._idle = 0.0
        self.read()

    @property
    def attempt(self) -> Attempt | None:
        """What was begun and is not over."""
        return self._known.attempt

    @property
    def releases(self) -> Mapping[str, Release]:
        """What can be gone back to, by name."""
        return self._known.releases

    @property
    def current(self) -> str:
        """The name of the release that was deployed last, or brought back; empty before the first."""
        return self._known.current

    def read(self) -> None:
        """Look at it anew."""
        answer = self._found()
        self._known = Known.of(answer["Body"].read() if answer else b"")
        self._etag = answer["ETag"] if answer else ""
        if answer:
            told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            now = parsedate_to_datetime(told) if told else datetime.now(UTC)
            self._idle = (now - answer["LastModified"]).total_seconds()

    # --- the lock ----------------------------------------------------------------------------------------------------
    def holder(self) -> str:
        """Who holds the lock, and since when; empty where nobody does."""
        lock = self._known.lock
        return f"{lock['owner']}, since {lock['since']}" if lock and self._idle < LEASE else ""

    def check_free(self, *, break_lock: bool = False) -> None:
        """Raises Held where somebody has the lock, unless it is to be broken."""
        if (holder := self.holder()) and not break_lock:
            raise Held(
                f"This stage is being deployed by {holder}. Wait for it: its lock ends {LEASE} s after its last sign "
                "of life. If you know that it is dead: --break-lock."
            )

    def take(self, *, break_lock: bool = False) -> None:
        """Take the lock, and keep it until `finish` or `release`. Raises Held, unless it has expired or is broken."""
        self.check_free(break_lock=break_lock)
        self._over.clear()
        self._lost.clear()
        lock = {"owner": self._owner, "id": self._id, "since": _now()}
        try:
            self.change(lambda known: replace(known, lock=lock))
        except Lost:
            raise Held("Somebody else has just begun to deploy this stage.") from None
        threading.Thread(target=self._keep, name="lock", daemon=True).start()

    def release(self) -> None:
        """Let go of it, where it was not let go of by `finish`; the attempt stays as it is."""
        with self._guard:
            if self._over.is_set():
                return
            self._over.set()
            self._write(replace(self._known, lock=None))

    def still_ours(self) -> bool:
        """Whether we hold the lock: asked within a step that lasts. After a silence (a laptop that slept) S3 tells."""
        with self._guard:
            if not self._written or self._lost.is_set() or self._over.is_set():
                return False
            if (silent := time.time() - self._written) < SURE:
                return True
            try:
                self._write(self._known)
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
                    self._write(self._known)
                except Lost:
                    return  # the next step finds out, and who asks still_ours within one
                except (BotoCoreError, ClientError):
                    continue  # S3 is away for a moment; the lease is longer than that

    # --- what is written ---------------------------------------------------------------------------------------------
    def change(self, make: Callable[[Known], Known]) -> None:
        """Write what ``make`` makes of what is known. Raises Lost where the lock is gone."""
        with self._guard:
            self._write(make(self._known))

    def check_ours(self) -> None:
        """Before what cannot be taken back: raises Lost where the lock is gone, however short ago."""
        self.change(lambda known: known)

    def begin(self, attempt: Attempt) -> None:
        """Begin a deploy or a way back."""
        self.change(lambda known: replace(known, attempt=attempt))

    def note(self, step: str, verdict: str) -> None:
        """A step of the attempt was begun, or done; the journal has its steps in the order they were taken last."""

        def noted(attempt: Attempt) -> Attempt:
            others = {name: said for name, said in attempt.steps.items() if name != step}
            return replace(attempt, steps={**others, step: verdict})

        self._go_on(noted)

    def learn(self, release: Release) -> None:
        """More is known of what is deployed."""
        self._go_on(lambda attempt: replace(attempt, release=release))

    def turn_back(self) -> None:
        """The attempt has failed: what it has switched is taken back."""
        self._go_on(lambda attempt: replace(attempt, backing_out=True))

    def kept(self, current: Release | None) -> dict[str, Release]:
        """The releases that are known when this is the current one (None: the one before stays), the oldest first."""
        found = dict(self.releases)
        if current:
            found.pop(current.name, None)
            found[current.name] = current
        name = current.name if current else self.current
        needed = {name, found[name].previous} if name else set()
        old = [each for each in list(found)[:-KEPT] if each not in needed]
        return {each: release for each, release in found.items() if each not in old}

    def finish(self, current: Release | None) -> None:
        """The attempt is over, this is the current release (None: the one before stays), and the stage is free."""
        with self._guard:
            self._write(Known(releases=self.kept(current), current=current.name if current else self.current))
            self._over.set()

    def _go_on(self, make: Callable[[Attempt], Attempt]) -> None:
        with self._guard:
            self._write(replace(self._known, attempt=make(begun(self))))

    def _write(self, known: Known) -> None:
        """Raises Lost where another has written. Here it is known when S3 has it, and not before.

        A write may meet another one of ours, whose answer timed out so that boto3 has sent it again: S3 asks us then to
        look, and to write once more. https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html (If-Match)
        """
        body = known.body()
        for tries_left in reversed(range(TRIES)):
            condition = {"IfMatch": self._etag} if self._etag else {"IfNoneMatch": "*"}
            try:
                answer = self._s3.put_object(Bucket=self._bucket, Key=KEY, Body=body, **condition)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in CONFLICT:
                    raise
                answer = self._found()
                found, etag = (answer["Body"].read(), answer["ETag"]) if answer else (b"", "")
                if found != body:  # else it is this very write, and only its answer got lost
                    self._check_not_lost(found, etag)
                    if not tries_left:
                        raise
                    self._etag = etag
                    time.sleep(PAUSE)
                    continue
            self._etag, self._known, self._written = answer["ETag"], known, time.time()
            return

    def _check_not_lost(self, found: bytes, etag: str) -> None:
        """Raises Lost where this was written by another; whoever writes has the lock, or takes it."""
        lock = Known.of(found).lock
        if etag != self._etag and (lock is None or lock["id"] != self._id):
            self._lost.set()
            raise Lost("Somebody else has written the record of this stage.") from None

    def _found(self) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = self._s3.get_object(Bucket=self._bucket, Key=KEY)
        except ClientError as error:
            if code_of(error) not in {"NoSuchKey", "NoSuchBucket", "404"}:
                raise
            return None
        return answer


def begun(record: Record) -> Attempt:
    """The attempt that is being made. Raises Lost where there is none any more."""
    if record.attempt is None:
        raise Lost("The record of this stage has no deploy that was begun.")
    return record.attempt


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
