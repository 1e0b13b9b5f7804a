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
from dataclasses import replace
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.config import STAGES
from infrastructure.deploying import stacks as assembly
from infrastructure.deploying.account import Account, Refused, whoever
from infrastructure.deploying.functions import Functions, WentWrong
from infrastructure.deploying.plan import Plan, make_plan
from infrastructure.deploying.record import BEGUN, KEY, Attempt, Lost, Record, Release
from infrastructure.deploying.releases import Bucket, of_checkout, of_package
from infrastructure.deploying.say import Say
from infrastructure.deploying.stacks import StackFailed, Stacks
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
    told,
)


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="infrastructure.deploying", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    forward = commands.add_parser("deploy", help="bring a stage to AWS: stacks, schema, files, functions")
    back = commands.add_parser("rollback", help="bring the release before back: functions and files")
    for command in (forward, back):
        command.add_argument("--stage", choices=tuple(STAGES), required=True)
        command.add_argument("--yes", action="store_true", help="ask nothing")
        command.add_argument("--break-lock", action="store_true", help="somebody else's deploy is dead: go on over it")
        command.add_argument("--patience", type=float, help="seconds within which the smoke test must be fine")
    forward.add_argument("--plan", action="store_true", help="only say what would be done")
    forward.add_argument("--tag", default="", help="what the release is called; needed where the checkout has changes")
    forward.add_argument("--may-lose", action="store_true", help="with --yes: also what removes or replaces something")
    forward.add_argument("--templates", type=Path, help="CDK's output, made before; else it is made now")
    forward.add_argument("--package", type=Path, help="a package, made before; else it is made now")
    forward.add_argument(
        "--role", default="", help="the ARN of the role in whose name CloudFormation works; else yours"
    )
    return parser.parse_args(words)


def run_deploy(arguments: argparse.Namespace, account: Account, say: Say) -> None:
    """Plan, ask, deploy."""
    release = of_package(arguments.package) if arguments.package else of_checkout(arguments.tag)
    with _templates(arguments, account) as templates:
        digest = hashlib.sha256("".join(each.body for each in templates.values()).encode()).hexdigest()[:8]
        release = replace(release, stacks=digest)
        record = _record(account)
        functions = Functions(account, record.still_ours, say.line)
        stacks = Stacks(account, templates, role=arguments.role)
        stacks.told |= told(stacks, functions, release.name, switched=False)
        known = record.releases.get(release.name)
        if known and known.source != release.source:
            raise Refused(f"{release.name} was deployed with other code ({known.source}): choose another tag.")
        attempt = _resumed(record, "deploy", release)
        plan = make_plan(stacks, record, release, resumes=bool(attempt and attempt.steps))
        plan.show(say)
        if arguments.plan:
            return
        if plan.lost and arguments.yes and not arguments.may_lose:
            raise Refused("Something would be removed or replaced: --may-lose, if that is meant.")
        _ask(arguments, f"Deploy {release.name} to {account.stage.name}?")
        if not account.has_packages:
            # Without its bucket there is no lock yet. Of two first deploys CloudFormation lets one make this stack.
            say.step("stack foundation", lambda: stacks.apply("foundation", plan.lost))
        tools = Tools(
            stacks=stacks,
            functions=functions,
            bucket=Bucket(account),
            record=record,
            agreed=plan.lost,
            package=arguments.package,
            patience=arguments.patience,
        )
        with _locked(record, arguments):
            _check_nobody_was_faster(plan, record)
            if _resumed(record, "deploy", release) is None:
                record.begin(_instead_of(record.attempt, release))
            _carry_out(Deploy(tools, record.releases.get(record.current)).steps(), tools, say)
        say.line(f"{release.name} is deployed to {account.stage.name}.", "bold green")


def run_rollback(arguments: argparse.Namespace, account: Account, say: Say) -> None:
    """Ask, then bring back the release before: of a deploy that was cut off, what was there; else the one before it."""
    record = _record(account)
    now = record.releases.get(record.current)
    cut_off = _half_switched(record)
    then = now if cut_off else record.releases.get(now.previous) if now else None
    if now is None or then is None:
        raise Refused(f"There is nothing to go back to: {account.stage.name} has had no release before this one.")
    bucket = Bucket(account)
    if not bucket.has(then.package):
        raise Refused(f"The package of {then.name} is gone ({then.package}); deploy its commit instead.")
    number, who = account.identity
    say.line(f"{account.stage.name}, account {number}, as {who}", "bold")
    say.line(f"  back from {cut_off or now.name} to {then.name} of {then.at}")
    say.line("  stacks and schema stay: migrations have only expanded it")
    _ask(arguments, f"Bring {then.name} back?")
    functions = Functions(account, record.still_ours, say.line)
    tools = Tools(
        stacks=Stacks(account, {}), functions=functions, bucket=bucket, record=record, patience=arguments.patience
    )
    steps = roll_back(tools, now, then)
    with _locked(record, arguments):
        if cut_off:
            back_out(steps, record, say)
        else:
            if _resumed(record, "rollback", then) is None:
                record.begin(Attempt(kind="rollback", release=then))
            _carry_out(steps, tools, say)
    say.line(f"{account.stage.name} is back at {then.name}.", "bold green")


# --- the parts of both -----------------------------------------------------------------------------------------------
@contextmanager
def _templates(arguments: argparse.Namespace, account: Account) -> Iterator[dict[str, assembly.Template]]:
    stage = account.stage
    if arguments.templates:
        yield assembly.read(arguments.templates, stage.name, stage.prefix)
        return
    from infrastructure.app import synthesize  # it takes seconds to load

    with tempfile.TemporaryDirectory(prefix="vibecode-stacks-") as folder:
        synthesize(Path(folder))
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


def _half_switched(record: Record) -> str:
    """The release of a deploy that was cut off when it had begun to switch functions; empty where there is none."""
    attempt = record.attempt
    return attempt.release.name if attempt and attempt.kind == "deploy" and SWITCHES & attempt.steps.keys() else ""


@contextmanager
def _locked(record: Record, arguments: argparse.Namespace) -> Iterator[None]:
    record.read()
    record.take(break_lock=arguments.break_lock)
    try:
        yield
    except Lost:
        raise
    except BaseException:
        record.release()
        raise
    record.release()


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
        say.line(f"It failed, and {arguments.stage} is as it was before: {failed}", "bold red")
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
