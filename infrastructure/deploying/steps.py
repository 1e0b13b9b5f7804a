"""The steps of a deploy and of the way back, in their order, and how they are taken: noted, resumed, undone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from infrastructure.deploying.assembly import AFTER_ZAPPA, BEFORE_ZAPPA
from infrastructure.deploying.confidential import complete_settings
from infrastructure.deploying.database import make_roles
from infrastructure.deploying.functions import WEB, WORKER, Functions
from infrastructure.deploying.images import look_for, run_image
from infrastructure.deploying.operations import Operations
from infrastructure.deploying.pages import smoke_test, try_out
from infrastructure.deploying.parameters import told
from infrastructure.deploying.record import BEGUN, Attempt, Lost, Record, Release, begun
from infrastructure.deploying.releases import Bucket
from infrastructure.deploying.say import Say
from infrastructure.deploying.sender import wait_for_sender
from infrastructure.deploying.stacks import Stacks

THE_CONTAINERS, THE_WORKER, THE_SWITCH = "containers", "worker", "web: the switch"
SWITCHES = {THE_CONTAINERS, THE_WORKER, THE_SWITCH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. It may be taken again, also where it was cut off; what it gives is its verdict."""

    name: str
    do: Callable[[], str]
    done: Callable[[], bool] = lambda: True  # whether what the journal calls done still is
    undo: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the steps work with."""

    stacks: Stacks
    functions: Functions
    operations: Operations
    bucket: Bucket
    record: Record
    agreed: Mapping[str, Sequence[str]] = MappingProxyType({})  # what each stack may lose, as the plan showed it
    package: Path | None = None  # built where none is given
    patience: float | None = None  # seconds of the trial, and of the smoke test


class Deploy:
    """A deploy over the release that is there, if any; the record's attempt says which one comes.

    Nothing of a release is asked before its schema is there, and no page names a file that is not. It migrates and is
    tried out beside the one that runs; then the worker is given it, whose queues understand what either web function
    sends, and last the web function, which customers ask: that is the switch.
    """

    def __init__(self, tools: Tools, before: Release | None) -> None:
        self._tools, self._before = tools, before

    def steps(self) -> list[Step]:
        """Every step, in order."""
        tools, there, account = self._tools, self._tools.stacks.templates, self._tools.stacks.account
        before = [step for what in BEFORE_ZAPPA if what in there for step in self._before_zappa(what)]
        after = [
            self._stack(what, f"stack {what}, after Zappa", switched=True) for what in AFTER_ZAPPA if what in there
        ]
        is_first = self._before is None
        return [
            *before,
            Step(name="secrets", do=lambda: complete_settings(account, account.hand_over())),
            Step(name="database roles", do=lambda: make_roles(account)),
            *([Step(name="image", do=lambda: look_for(account, self._release.name))] if account.stage.batch else []),
            Step(name="package", do=self._package, done=lambda: tools.bucket.has(self._release.package)),
            Step(name="migrations", do=self._migrate),
            Step(name="static files", do=lambda: tools.bucket.publish(self._release)),
            Step(name="trial", do=self._try_out, done=lambda: False),  # of what it is told now
            *self._containers(),
            self._put(WORKER, THE_WORKER),
            self._put(WEB, THE_SWITCH),
            *after,
            Step(name="smoke test", do=lambda: _smoke(tools, self._release, is_first=is_first)),
            *([Step(name="figures", do=tools.operations.rebuild_figures)] if is_first else []),
        ]

    @property
    def _release(self) -> Release:
        """What is being deployed, as far as it is known."""
        return begun(self._tools.record).release

    def _before_zappa(self, what: str) -> Iterator[Step]:
        """A stack; the one with the pool when SES knows who mails to its people."""
        stacks, turn = self._tools.stacks, self._tools.functions.turn
        if what == "identity" and stacks.account.stage.domain:
            yield Step(name="sender", do=lambda: wait_for_sender(stacks.account, turn, stacks.report))
        yield self._stack(what, f"stack {what}", switched=False)

    def _stack(self, what: str, name: str, *, switched: bool) -> Step:
        def apply() -> str:
            stacks = self._tools.stacks
            stacks.told |= told(stacks, self._tools.functions, switched=switched)
            return stacks.apply(what, self._tools.agreed.get(what, ()))

        return Step(name=name, do=apply, done=lambda: False)  # what it is told may have changed since

    def _package(self) -> str:
        self._tools.record.learn(self._tools.bucket.keep(self._release, self._tools.package))
        return self._release.package

    def _migrate(self) -> str:
        before = len(self._release.migrations)

        def learn(applied: Sequence[str]) -> None:
            release = self._release
            self._tools.record.learn(replace(release, migrations=(*release.migrations, *applied)))

        self._tools.operations.migrate(self._release.package, learn)
        return f"{len(self._release.migrations) - before} applied"

    def _try_out(self) -> str:
        patience = self._tools.patience if self._tools.patience is not None else 60
        return try_out(self._tools.functions, self._release.name, self._release.package, patience)

    def _containers(self) -> Iterator[Step]:
        """What runs long has the release when its schema is there, as the worker."""
        tools, before = self._tools, self._before
        if tools.stacks.account.stage.batch:
            yield _run_image(tools.stacks, self._release, before)

    def _put(self, which: str, name: str) -> Step:
        functions, before = self._tools.functions, self._before
        return Step(
            name=name,
            do=lambda: functions.put(which, self._release.package, first=before is None),
            done=lambda: False,  # what the stacks hand over may have changed since
            undo=(lambda: functions.put(which, before.package)) if before else None,
        )


def roll_back(tools: Tools, now: Release, then: Release) -> list[Step]:
    """Every step back to the release before: who produces first, then who consumes. Files and schema are there.

    Of a deploy that was cut off that is the current one, ``now`` itself: then there is nothing to go forward to again.
    """
    account = tools.stacks.account
    again = None if now.name == then.name else now

    def put(which: str, name: str) -> Step:
        return Step(
            name=name,
            do=lambda: tools.functions.put(which, then.package),
            undo=(lambda: tools.functions.put(which, again.package)) if again else None,
        )

    return [
        Step(name="static files", do=lambda: tools.bucket.publish(then)),
        put(WEB, THE_SWITCH),
        put(WORKER, THE_WORKER),
        *([_run_image(tools.stacks, then, again)] if account.stage.batch else []),
        Step(name="smoke test", do=lambda: _smoke(tools, then, is_first=False)),
    ]


def _run_image(stacks: Stacks, wanted: Release, before: Release | None) -> Step:
    return Step(
        name=THE_CONTAINERS,
        do=lambda: run_image(stacks, wanted.name),
        undo=(lambda: run_image(stacks, before.name)) if before else None,
    )


def _smoke(tools: Tools, release: Release, *, is_first: bool) -> str:
    """CloudFront takes minutes for what is new; where customers already buy, a minute is long."""
    patience = tools.patience if tools.patience is not None else 900 if is_first else 60
    tools.functions.check_code(release.sha256)
    return smoke_test(tools.functions, release.name, patience)


# --- how they are taken ----------------------------------------------------------------------------------------------
class TookBack(Exception):
    """A step failed, and both functions have the release again that was there before; the text says what failed."""

    def __init__(self, said: str, release: str) -> None:
        super().__init__(said)
        self.release = release


def take(steps: Sequence[Step], record: Record, say: Say) -> None:
    """Take what is not done yet, each noted before and after. Raises TookBack, or Lost, and then nothing is undone.

    What could not be undone, or has nothing to go back to, raises what went wrong itself.
    """
    try:
        for step in steps:
            known = begun(record).steps.get(step.name, BEGUN)
            if known != BEGUN and step.done():
                say.skipped(step.name, known)
                continue
            record.note(step.name, BEGUN)
            record.note(step.name, say.step(step.name, step.do))
    except (Lost, KeyboardInterrupt):
        raise
    except Exception as error:
        if not _can_go_back(steps, record):
            raise
        say.failed(str(error), record.current)
        record.turn_back()
        back_out(steps, record, say)
        raise TookBack(str(error), record.current) from error


def back_out(steps: Sequence[Step], record: Record, say: Say) -> None:
    """Undo what was begun of these steps, the last first; then the attempt is over, and the current release stays.

    Cut off, all of it is undone once more: until the end the journal says what was switched. What a deploy has migrated
    stays, and from here on the current release has brought it.
    """
    for step in reversed(steps):
        if step.undo and step.name in begun(record).steps:
            say.step(f"back: {step.name}", step.undo)
    failed, there = begun(record), record.releases.get(record.current)
    record.finish(with_migrations(there, failed) if there else None)


def _can_go_back(steps: Sequence[Step], record: Record) -> bool:
    """Whether something was switched that can be switched back; before that, the next run just goes on."""
    return any(step.undo and step.name in begun(record).steps for step in steps)


def with_migrations(release: Release, unfinished: Attempt | None) -> Release:
    """A release that stays or comes in the place of a deploy that is not finished, with what that has migrated."""
    if unfinished is None or unfinished.kind != "deploy":
        return release
    return replace(release, migrations=(*release.migrations, *unfinished.release.migrations))


def finished(record: Record) -> Release:
    """The release of an attempt that is through, with what one goes back to from it."""
    attempt = begun(record)
    release, before = attempt.release, record.current
    if attempt.kind == "rollback":
        return release  # from which one goes back to where one went from it
    at = datetime.now(UTC).isoformat(timespec="seconds")
    known = record.releases.get(release.name)
    if known:  # it comes once more: what it brought the first time is there
        release = replace(release, migrations=(*known.migrations, *release.migrations))
    if known and before == release.name:  # from it one goes back as far as before
        return replace(release, previous=known.previous, at=at)
    return replace(release, previous=before, at=at)
