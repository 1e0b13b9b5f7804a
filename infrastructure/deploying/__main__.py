"""`make deploy STAGE=dev` and `make rollback STAGE=dev`: a plan, one question, then line by line.

Ends with 0 when it is done, 1 where it was refused or failed (and says whether it has gone back), 130 when interrupted.
"""

import argparse
import hashlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.config import REGION, STAGES
from infrastructure.deploying import assembly
from infrastructure.deploying.account import Account, Refused, WentWrong, whoever
from infrastructure.deploying.cloudformation import StackFailed
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.operations import Operations
from infrastructure.deploying.parameters import told
from infrastructure.deploying.plan import Plan, make_plan
from infrastructure.deploying.record import BEGUN, KEY, LEASE, Attempt, Lost, Record, Release
from infrastructure.deploying.releases import Bucket, of_checkout, of_package
from infrastructure.deploying.say import Say
from infrastructure.deploying.stacks import Stacks
from infrastructure.deploying.steps import (
    SWITCHES,
    Deploy,
    Step,
    TookBack,
    Tools,
    back_out,
    finished,
    roll_back,
    take,
)
from infrastructure.deploying.waiting import Turn


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="infrastructure.deploying", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    forward = commands.add_parser("deploy", help="bring a stage to AWS: stacks, schema, files, functions")
    back = commands.add_parser("rollback", help="bring the release before back: functions and files")
    for command in (forward, back):
        command.add_argument("--stage", choices=tuple(STAGES), required=True)
        command.add_argument("--account", default="", help="twelve digits: refuse to touch any other")
        command.add_argument("--yes", action="store_true", help="ask nothing")
        command.add_argument("--break-lock", action="store_true", help="somebody else's deploy is dead: go on over it")
        command.add_argument("--patience", type=float, help="seconds within which the smoke test must be fine")
    forward.add_argument("--plan", action="store_true", help="only say what would be done")
    forward.add_argument("--tag", default="", help="what the release is called; needed where the checkout has changes")
    forward.add_argument("--may-lose", action="store_true", help="also what removes or replaces something")
    forward.add_argument("--templates", type=Path, help="CDK's output, made before; else it is made now")
    forward.add_argument("--package", type=Path, help="a package, made before; else it is made now")
    forward.add_argument(
        "--role", default="", help="the ARN of the role in whose name CloudFormation works; else yours"
    )
    return parser.parse_args(words)


def run_deploy(arguments: argparse.Namespace, account: Account, say: Say) -> None:
    """Plan, ask, deploy."""
    _check_account(arguments, account)
    _check_first(arguments, account)
    release = of_package(arguments.package, account.stage.name) if arguments.package else of_checkout(arguments.tag)
    record = _record(account)
    record.check_free(break_lock=arguments.break_lock)
    with _templates(arguments, account) as templates:
        digest = hashlib.sha256("".join(each.body for each in templates.values()).encode()).hexdigest()[:8]
        release = replace(release, stacks=digest)
        functions = Functions(account, Turn(record.still_ours))
        stacks = Stacks(account, templates, role=arguments.role, may_lose=arguments.may_lose, hear=say.waiting)
        stacks.told |= told(stacks, functions, switched=False)
        known = record.releases.get(release.name)
        if known and known.source != release.source:
            raise Refused(f"{release.name} was deployed with other code ({known.source}): choose another tag.")
        attempt = _resumed(record, "deploy", release)
        plan = make_plan(stacks, record, release, resumes=bool(attempt and attempt.steps))
        plan.show(say)
        if arguments.plan:
            return
        if plan.lost and arguments.yes and not arguments.may_lose:
            raise Refused("Something would be removed or replaced: --may-lose (MAY_LOSE=1), if that is meant.")
        _ask(arguments, f"Deploy {release.name} to {account.stage.name} in account {account.number}?")
        if not account.has_packages:
            # Without its bucket there is no lock yet. Of two first deploys CloudFormation lets one make this stack.
            say.step("stack foundation", lambda: stacks.apply("foundation", plan.lost))
        tools = Tools(
            stacks=stacks,
            functions=functions,
            operations=Operations(functions, say.line),
            bucket=Bucket(account),
            record=record,
            agreed=plan.lost,
            package=arguments.package,
            patience=arguments.patience,
        )
        with _locked(record, arguments, say):
            _check_nobody_was_faster(plan, record)
            if _resumed(record, "deploy", release) is None:
                record.begin(_instead_of(record.attempt, release))
            _carry_out(Deploy(tools, record.releases.get(record.current)).steps(), tools, say)
        say.line(f"{release.name} is deployed to {account.stage.name}.", "bold green")


def run_rollback(arguments: argparse.Namespace, account: Account, say: Say) -> None:
    """Ask, then bring back the release before: of a deploy that was cut off, what was there; else the one before it."""
    _check_account(arguments, account)
    record = _record(account)
    record.check_free(break_lock=arguments.break_lock)
    way = _way_back(record)
    bucket = Bucket(account)
    if not bucket.has(way.then.package):
        raise Refused(f"The package of {way.then.name} is gone ({way.then.package}); deploy its commit instead.")
    number, who = account.identity
    say.line(f"{account.stage.name} in account {number}, {REGION}", "bold")
    say.line(f"  as {who}")
    say.line(f"  back from {(way.cut_off or way.now).name} to {way.then.name} of {way.then.at}")
    for migration in (way.cut_off or way.now).migrations:
        say.line(f"    stays: {migration}", "dim")
    say.line("  stacks and schema stay as they are: migrations have only expanded it")
    _ask(arguments, f"Bring {way.then.name} back?")
    functions = Functions(account, Turn(record.still_ours))
    tools = Tools(
        stacks=Stacks(account, {}, hear=say.waiting),
        functions=functions,
        operations=Operations(functions, say.line),
        bucket=bucket,
        record=record,
        patience=arguments.patience,
    )
    with _locked(record, arguments, say):
        if _way_back(record) != way:
            raise Refused(f"{account.stage.name} was deployed meanwhile: look again.")
        steps = roll_back(tools, way.now, way.then)
        if way.cut_off:
            back_out(steps, record, say)
        else:
            if _resumed(record, "rollback", way.then) is None:
                record.begin(Attempt(kind="rollback", release=way.then))
            _carry_out(steps, tools, say)
    say.line(f"{account.stage.name} is back at {way.then.name}. Stacks and schema are as they were.", "bold green")


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """From where one goes back, and to what."""

    now: Release
    then: Release
    cut_off: Release | None  # of a deploy that had begun to switch functions; then ``then`` is what was there before


def _way_back(record: Record) -> WayBack:
    """What a way back would do with the record as it is. Raises Refused where there is nothing to go back to."""
    now, attempt = record.releases.get(record.current), record.attempt
    switched = attempt is not None and attempt.kind == "deploy" and SWITCHES & attempt.steps.keys()
    cut_off = attempt.release if attempt and switched else None
    then = now if cut_off else record.releases.get(now.previous) if now else None
    if now is None or then is None:
        raise Refused("There is nothing to go back to: no release was deployed before this one.")
    return WayBack(now=now, then=then, cut_off=cut_off)


# --- the parts of both -----------------------------------------------------------------------------------------------
@contextmanager
def _templates(arguments: argparse.Namespace, account: Account) -> Iterator[dict[str, assembly.Template]]:
    stage = account.stage
    if arguments.templates:
        yield assembly.read(arguments.templates, stage.name, stage.prefix)
        return
    from infrastructure.app import synthesize  # it takes seconds to load

    with tempfile.TemporaryDirectory(prefix="vibecode-stacks-") as folder:
        synthesize(Path(folder), [stage], judged=False)
        yield assembly.read(Path(folder), stage.name, stage.prefix)


def _record(account: Account) -> Record:
    return Record(account.client("s3"), account.bucket("packages"), whoever())


def _resumed(record: Record, kind: str, release: Release) -> Attempt | None:
    """The attempt that this run goes on with, if there is one; a way back that was cut off always is."""
    attempt = record.attempt
    if attempt is None or attempt.backing_out:
        return attempt
    begun = attempt.release
    wanted = (kind, release.name, release.source, release.stacks)
    return attempt if (attempt.kind, begun.name, begun.source, begun.stacks) == wanted else None


def _check_account(arguments: argparse.Namespace, account: Account) -> None:
    """Raises Refused where we are signed in to another account than the stage's, as far as somebody has said which."""
    for said, where in ((account.stage.account, "infrastructure/config.py"), (arguments.account, "--account")):
        if said and said != account.number:
            raise Refused(f"You are in account {account.number}; {account.stage.name} belongs to {said} ({where}).")


def _check_first(arguments: argparse.Namespace, account: Account) -> None:
    """Raises Refused where nobody is asked, has named the account, or has ever deployed to it."""
    named = account.stage.account or arguments.account
    if arguments.yes and not named and not arguments.plan and not account.has_packages:
        raise Refused(
            f"{account.stage.name} has never been deployed to account {account.number}. Where that is meant, name it: "
            f"ACCOUNT={account.number} (--account), or in infrastructure/config.py."
        )


@contextmanager
def _locked(record: Record, arguments: argparse.Namespace, say: Say) -> Iterator[None]:
    record.read()
    record.take(break_lock=arguments.break_lock)
    try:
        yield
    except Lost:
        raise
    except BaseException:
        _let_go(record, say)
        raise
    _let_go(record, say)


def _let_go(record: Record, say: Say) -> None:
    """Release the lock; where that fails it ends by itself, and what happened before is what is said."""
    try:
        record.release()
    except (Lost, BotoCoreError, ClientError) as error:
        say.line(f"The lock was not released ({error}); it ends by itself, {LEASE} s from now at most.", "yellow")


def _instead_of(unfinished: Attempt | None, release: Release) -> Attempt:
    """A deploy in the place of one that was cut off: what that had begun is taken anew, and taken back if need be."""
    begun = unfinished.steps if unfinished else ()
    return Attempt(kind="deploy", release=release, steps=dict.fromkeys(begun, BEGUN))


def _check_nobody_was_faster(plan: Plan, record: Record) -> None:
    """Between plan and lock somebody may have deployed: then the plan is of another world."""
    if (plan.before.name if plan.before else "") != record.current:
        raise Refused(f"{record.current} was deployed meanwhile: plan again.")


def _carry_out(steps: list[Step], tools: Tools, say: Say) -> None:
    take(steps, tools.record, say)
    for gone in tools.record.finish(finished(tools.record)):
        tools.bucket.forget(gone)


def _ask(arguments: argparse.Namespace, question: str) -> None:
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise Refused("Nobody is there to be asked: --yes, if that is meant.")
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Refused("Nothing was done.")


def main(words: Sequence[str] | None = None) -> int:
    """Do what was asked for; every failure is a sentence."""
    arguments = read_arguments(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say = Say()
    account = Account(STAGES[arguments.stage])
    try:
        (run_deploy if arguments.command == "deploy" else run_rollback)(arguments, account, say)
    except Refused as refused:
        say.line(str(refused), "bold red")
    except TookBack as failed:
        say.line(
            f"It failed: {failed}\nBoth functions of {arguments.stage} and their files are as they were before; "
            "stacks and schema stay as they are now.",
            "bold red",
        )
    except Lost as lost:
        say.line(f"{lost} Nothing more was done, nor taken back ({KEY}).", "bold red")
    except (StackFailed, WentWrong, BotoCoreError, ClientError) as error:
        say.line(f"{error}\nMend it, and run it again: it goes on where it was.", "bold red")
    except KeyboardInterrupt:
        say.line("Interrupted. Run it again: it goes on where it was.", "bold red")
        return 130
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
