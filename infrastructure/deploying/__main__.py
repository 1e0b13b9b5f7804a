"""`make deploy STAGE=dev` and `make rollback STAGE=dev`: a plan, one question, then line by line.

Ends with 0 when it is done, 1 where it was refused or failed (and says whether it has gone back), 130 when interrupted.
Longer than most modules: a deploy and a rollback share their checks, the question, the lock and the end.
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
from botocore.parsers import ResponseParserError

from infrastructure.config import REGION, STAGES
from infrastructure.deploying import assembly
from infrastructure.deploying.account import Account, Refused, WentWrong, whoever
from infrastructure.deploying.cloudformation import StackFailed
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.operations import Operations
from infrastructure.deploying.parameters import told
from infrastructure.deploying.plan import Plan, make_plan
from infrastructure.deploying.record import BEGUN, KEY, LEASE, Attempt, Lost, Record, Release
from infrastructure.deploying.releases import Bucket, of_checkout, of_package, tagging
from infrastructure.deploying.say import Say, ask
from infrastructure.deploying.stacks import Stacks
from infrastructure.deploying.steps import (
    Deploy,
    Step,
    TookBack,
    Tools,
    back_out,
    finished,
    roll_back,
    take,
    with_migrations,
)
from infrastructure.deploying.waiting import Turn
from infrastructure.deploying.way_back import switching, way_back


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
        command.add_argument("--patience", type=float, help="seconds within which trial and smoke test must be fine")
    back.add_argument("--to", default="", help="the release that is meant: nothing is done where it is there already")
    forward.add_argument("--plan", action="store_true", help="only say what would be done")
    forward.add_argument("--may-lose", action="store_true", help="also what removes or replaces something")
    forward.add_argument("--templates", type=Path, help="CDK's output, made before; else it is made now")
    named = forward.add_mutually_exclusive_group()  # a package has its name
    named.add_argument("--tag", default="", help="what the release is called; needed where the checkout has changes")
    named.add_argument("--package", type=Path, help="a package, made before; else it is made now")
    forward.add_argument(
        "--role", default="", help="the ARN of the role in whose name CloudFormation works; else yours"
    )
    return parser.parse_args(words)


def run_deploy(arguments: argparse.Namespace, account: Account, say: Say) -> None:
    """Plan, ask, deploy."""
    _check_account(arguments, account)
    _check_first(arguments, account)
    if arguments.package:
        release = of_package(arguments.package, account.stage.name)
    else:
        release = of_checkout(arguments.tag, planned=arguments.plan)
    record = _record(account)
    record.check_free(break_lock=arguments.break_lock)
    if record.attempt and record.attempt.backing_out:
        _end_way_back(record.attempt, record, arguments, account, say)
        return
    with _templates(arguments, account) as templates:
        digest = hashlib.sha256("".join(each.body for each in templates.values()).encode()).hexdigest()[:8]
        release = replace(release, stacks=digest)
        stacks = Stacks(account, templates, role=arguments.role, may_lose=arguments.may_lose, report=say.waiting)
        tools = _tools(stacks, record, arguments, say)
        stacks.told |= told(stacks, tools.functions, switched=False)
        known = record.releases.get(release.name)
        if known and known.source != release.source:
            raise Refused(f"{release.name} was deployed with other code ({known.source}): choose another tag.")
        attempt = _resumed(record, release)
        plan = make_plan(stacks, record, release, resumes=bool(attempt and attempt.steps))
        plan.show(say)
        if arguments.plan:
            return
        question = f"Deploy {release.name} to {account.stage.name} in account {account.number}?"
        ask(question, yes=arguments.yes, unagreed=bool(plan.losses) and not arguments.may_lose)
        if not account.has_packages:
            # Without its bucket there is no lock yet. Of two first deploys CloudFormation lets one make this stack.
            say.step("stack foundation", lambda: stacks.apply("foundation"))
        tools = replace(tools, agreed=plan.losses, package=arguments.package)
        with _locked(tools, arguments, say):
            _check_nobody_was_faster(plan, record)
            if _resumed(record, release) is None:
                record.begin(_instead_of(record.attempt, "deploy", release))
            _carry_out(Deploy(tools, record.releases.get(record.current)).steps(), tools, say)
        say.line(f"{release.name} is deployed to {account.stage.name}.", "bold green")
        _say_how_to_tag(record, account, say)


def run_rollback(arguments: argparse.Namespace, account: Account, say: Say) -> None:
    """Ask, then bring back the release before: of a deploy that was cut off, what was there; else the one before it."""
    _check_account(arguments, account)
    record = _record(account)
    record.check_free(break_lock=arguments.break_lock)
    if record.attempt and record.attempt.backing_out and record.attempt.kind == "rollback":
        _end_way_back(record.attempt, record, arguments, account, say)
        return
    if arguments.to and arguments.to == record.current and switching(record) is None:
        say.line(f"{account.stage.name} is at {arguments.to} already: nothing was done.", "bold green")
        return
    way = way_back(record)
    if arguments.to not in {"", way.then.name}:
        raise Refused(f"The way back from {way.leaves} leads to {way.then.name}, not to {arguments.to}.")
    tools = _tools(Stacks(account, {}, report=say.waiting), record, arguments, say)
    if not tools.bucket.has(way.then.package):
        raise Refused(f"The package of {way.then.name} is gone ({way.then.package}); deploy its commit instead.")
    number, who = account.identity
    say.line(f"{account.stage.name} in account {number}, {REGION}", "bold")
    say.line(f"  as {who}")
    if way.resumes:
        say.line(f"  back to {way.then.name} of {way.then.at}; it was cut off: what it has done is not done again")
    else:
        say.line(f"  back from {way.leaves} to {way.then.name} of {way.then.at}")
    for migration in way.migrations:
        say.line(f"    stays: {migration}", "dim")
    say.line("  stacks and schema stay as they are: migrations have only expanded it")
    ask(f"Bring {way.then.name} back?", yes=arguments.yes)
    with _locked(tools, arguments, say):
        if way_back(record) != way:
            raise Refused(f"{account.stage.name} was deployed meanwhile: look again.")
        if not way.resumes:
            record.begin(_instead_of(record.attempt, "rollback", way.then))
        _carry_out(roll_back(tools, way.now, way.then), tools, say)
    say.line(f"{account.stage.name} is back at {way.then.name}. Stacks and schema are as they were.", "bold green")
    _say_how_to_tag(record, account, say)


def _end_way_back(attempt: Attempt, record: Record, arguments: argparse.Namespace, account: Account, say: Say) -> None:
    """A deploy has failed, or a rollback, and was cut off while the current release came back: end that, and say so."""
    there = record.releases[record.current]
    failed = f"A {attempt.kind} that was to bring {attempt.release.name} had failed, and was cut off on its way back"
    say.line(f"{account.stage.name} in account {account.number}, {REGION}", "bold")
    say.line(f"  {failed} to {there.name}. That comes first.", "yellow")
    if arguments.command == "deploy" and arguments.plan:
        return
    ask(f"Bring {there.name} back?", yes=arguments.yes)
    tools = _tools(Stacks(account, {}, report=say.waiting), record, arguments, say)
    with _locked(tools, arguments, say):
        if record.attempt != attempt:
            raise Refused(f"{account.stage.name} was deployed meanwhile: look again.")
        is_deploy = attempt.kind == "deploy"
        back_out(Deploy(tools, there).steps() if is_deploy else roll_back(tools, there, attempt.release), record, say)
    raise TookBack(f"{failed}. Run it again, if you still want it.", there.name)


# --- the parts of both -----------------------------------------------------------------------------------------------
def _tools(stacks: Stacks, record: Record, arguments: argparse.Namespace, say: Say) -> Tools:
    functions = Functions(stacks.account, Turn(record.still_ours))
    return Tools(
        stacks=stacks,
        functions=functions,
        operations=Operations(functions, say.line),
        bucket=Bucket(stacks.account),
        record=record,
        patience=arguments.patience,
    )


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


def _resumed(record: Record, release: Release) -> Attempt | None:
    """The deploy of this very release that was begun before, if there is one."""
    attempt = record.attempt
    if attempt is None:
        return None
    begun, wanted = attempt.release, ("deploy", release.name, release.source, release.stacks)
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
def _locked(tools: Tools, arguments: argparse.Namespace, say: Say) -> Iterator[None]:
    record = tools.record
    record.read()
    record.take(break_lock=arguments.break_lock)
    tools.stacks.turn = tools.functions.turn
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


def _instead_of(unfinished: Attempt | None, kind: str, release: Release) -> Attempt:
    """An attempt in the place of one that was cut off: what that had begun is taken anew, and taken back if need be.

    What it has migrated stays, also when what comes in its place goes.
    """
    begun = unfinished.steps if unfinished else ()
    return Attempt(kind=kind, release=with_migrations(release, unfinished), steps=dict.fromkeys(begun, BEGUN))


def _check_nobody_was_faster(plan: Plan, record: Record) -> None:
    """Between plan and lock somebody may have deployed: then the plan is of another world."""
    if (plan.before.name if plan.before else "") != record.current:
        raise Refused(f"{record.current} was deployed meanwhile: plan again.")
    if record.attempt and record.attempt.backing_out:
        raise Refused(f"{record.attempt.release.name} has failed meanwhile, and is taken back first: run it again.")


def _carry_out(steps: list[Step], tools: Tools, say: Say) -> None:
    """Take the steps, then end the attempt; what is left of others goes before, while the stage is ours."""
    record = tools.record
    take(steps, record, say)
    last = finished(record)
    record.check_ours()
    try:
        tools.functions.clear_beside()
        tools.bucket.keep_only({each.package for each in record.kept(last).values()})
    except (BotoCoreError, ClientError) as error:
        say.line(f"What others left was not all deleted ({error}); the next deploy does it.", "yellow")
    record.finish(last)


def _say_how_to_tag(record: Record, account: Account, say: Say) -> None:
    """What production has by now is the release before the next one: git must know it (docs/deploy.md)."""
    if account.stage.name == "production":
        say.line(f"Let git know: {tagging(record.releases[record.current])}")


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
            f"It failed: {failed}\nBoth functions of {arguments.stage} have {failed.release} again; "
            "stacks and schema stay as they are now.",
            "bold red",
        )
    except Lost as lost:
        say.line(f"{lost} Nothing more was done, nor taken back ({KEY}).", "bold red")
    except (StackFailed, WentWrong, BotoCoreError, ClientError, ResponseParserError) as error:
        say.line(f"{error}\nMend it, and run it again: it goes on where it was.", "bold red")
    except KeyboardInterrupt:
        say.line("Interrupted. Run it again: it goes on where it was.", "bold red")
        return 130
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
