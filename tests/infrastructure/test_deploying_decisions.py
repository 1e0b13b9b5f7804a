"""What a deploy and a way back decide before they do anything, and what they refuse: at the local AWS."""

import argparse
import json
import os
import shlex
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infrastructure import package as packages
from infrastructure.config import REGION, STAGES
from infrastructure.deploying import __main__ as command
from infrastructure.deploying import releases
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.assembly import Template
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.record import Attempt, Held, Lost, Record, Release
from infrastructure.deploying.say import Say
from infrastructure.deploying.stacks import Stacks
from infrastructure.deploying.steps import Step, Tools, back_out, finished
from infrastructure.hand_over import REPOSITORY
from vibecode import aws
from vibecode.resources import LOCAL_ACCOUNT

PACKAGES = f"vibecode-dev-packages-{LOCAL_ACCOUNT}"
OTHER = "999999999999"
FIRST = Release(name="one", source="one", package="releases/one.zip", migrations=("orders.0001_initial",))
SECOND = Release(name="two", source="two", package="releases/two.zip", previous="one", migrations=("orders.0009_more",))


@pytest.fixture
def account() -> Account:
    """The account of dev in the local AWS."""

    def make(service: str, **_: object) -> Any:
        found: Any = aws.client  # any service
        return found(service, seconds=120)  # until all of the local AWS is there, also on a busy machine

    return Account(replace(STAGES["dev"], account=""), make)


@pytest.fixture
def bucket(account: Account) -> Iterator[str]:
    """The bucket of packages, with two of them."""
    s3 = account.client("s3")
    s3.create_bucket(Bucket=PACKAGES, CreateBucketConfiguration={"LocationConstraint": REGION})
    for each in (FIRST, SECOND):
        s3.put_object(Bucket=PACKAGES, Key=each.package, Body=b"")
    yield PACKAGES
    for found in s3.list_objects_v2(Bucket=PACKAGES)["Contents"]:
        s3.delete_object(Bucket=PACKAGES, Key=found["Key"])
    s3.delete_bucket(Bucket=PACKAGES)


@pytest.fixture
def record(account: Account, bucket: str) -> Record:
    """Somebody's record of a stage that has had two releases."""
    made = Record(account.client("s3"), bucket, "somebody")
    for each in (FIRST, SECOND):
        made.take()
        made.begin(Attempt(kind="deploy", release=each))
        made.finish(each)
    return made


def asked(*words: str) -> argparse.Namespace:
    return command.read_arguments([words[0], "--stage", "dev", *words[1:]])


# --- stacks ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def stacks(account: Account) -> Iterator[Callable[..., Stacks]]:
    """Two stacks, each a parameter of SSM, the second with what it is given; and more in either template."""
    account.client("lambda").list_functions()  # answered when all of the local AWS is there
    mark = uuid.uuid4().hex[:8]

    def template(what: str, **more: Any) -> Template:
        resources = {"It": value(f"/{mark}/{what}", "1")} | more.pop("Resources", {})
        body = json.dumps({"Resources": resources, **more})
        return Template(what=what, name=f"{mark}-{what}", region=REGION, tags={}, protected=False, body=body)

    def made(front: dict[str, Any], runtime: dict[str, Any], **more: Any) -> Stacks:
        both = {"front": template("front", **front), "runtime": template("runtime", **runtime)}
        return Stacks(account, both, **more)

    yield made
    for what in ("runtime", "front"):
        account.client("cloudformation").delete_stack(StackName=f"{mark}-{what}")


def value(name: str, said: Any) -> dict[str, Any]:
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Name": name, "Type": "String", "Value": said}}


def test_what_one_release_puts_out_and_takes_is_known_when_it_comes(
    account: Account, stacks: Callable[..., Stacks]
) -> None:
    old = stacks({}, {})
    for what in old.templates:
        old.apply(what)
    name, export = f"/{uuid.uuid4().hex}", uuid.uuid4().hex
    new = stacks(
        {
            "Resources": {"More": value(f"{name}-more", "1")},  # the local AWS looks for changes in resources alone
            "Outputs": {"Address": {"Value": "here"}, "Key": {"Value": "key", "Export": {"Name": export}}},
        },
        {
            "Parameters": {"Address": {"Type": "String"}},
            "Resources": {
                "Told": value(name, {"Ref": "Address"}),
                "Taken": value(f"{name}-taken", {"Fn::ImportValue": export}),
            },
        },
    )

    plan = new.plan()
    for what in new.templates:
        new.apply(what)

    assert plan["runtime"].waits_for == sorted(["Address", export])
    assert "known when a stack before it puts out" in str(plan["runtime"])
    ssm = account.client("ssm")
    told = [ssm.get_parameter(Name=each)["Parameter"]["Value"] for each in (name, f"{name}-taken")]
    assert told == ["here", "key"]


@pytest.mark.parametrize("may_lose", [False, True])
def test_what_no_plan_could_show_is_lost_only_where_that_was_said(
    account: Account, stacks: Callable[..., Stacks], may_lose: bool
) -> None:
    kept = f"/{uuid.uuid4().hex}"
    old = stacks({}, {"Resources": {"Kept": value(kept, "1")}})
    for what in old.templates:
        old.apply(what)
    outputs, parameters = {"Address": {"Value": "here"}}, {"Address": {"Type": "String"}}
    more = {"More": value(f"{kept}-more", "1")}
    new = stacks({"Outputs": outputs, "Resources": more}, {"Parameters": parameters}, may_lose=may_lose)

    plan = new.plan()
    new.apply("front")
    if may_lose:
        new.apply("runtime")
    else:
        with pytest.raises(Refused, match=r"would lose what the plan did not show: AWS::SSM::Parameter Kept\. Run it"):
            new.apply("runtime")

    assert plan["runtime"].lost == ()
    found = account.client("ssm").get_parameters(Names=[kept])["Parameters"]
    assert len(found) == (0 if may_lose else 1)
    if not may_lose:
        assert new.plan()["runtime"].lost == ["AWS::SSM::Parameter Kept"], "and now it does"


# --- which account, and who else -------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["deploy", "rollback"])
def test_another_account_than_was_named_is_not_touched(account: Account, record: Record, what: str) -> None:
    run = {"deploy": command.run_deploy, "rollback": command.run_rollback}[what]
    before = record._known

    with pytest.raises(Refused, match=f"You are in account {LOCAL_ACCOUNT}; dev belongs to {OTHER}"):
        run(asked(what, "--yes", "--account", OTHER), account, Say())

    record.read()
    assert record._known == before


def test_a_stage_with_an_account_of_its_own_is_deployed_to_no_other(account: Account) -> None:
    account.stage = replace(STAGES["dev"], account=OTHER)

    with pytest.raises(Refused, match=r"dev belongs to 999999999999 \(infrastructure/config.py\)"):
        command.run_deploy(asked("deploy", "--plan"), account, Say())


def test_the_first_deploy_to_an_account_is_not_made_by_nobody_unless_it_was_named(account: Account) -> None:
    with pytest.raises(Refused, match=f"has never been deployed to account {LOCAL_ACCOUNT}.*ACCOUNT={LOCAL_ACCOUNT}"):
        command.run_deploy(asked("deploy", "--yes"), account, Say())

    named = asked("deploy", "--yes", "--account", LOCAL_ACCOUNT, "--package", "/dev/null")
    with pytest.raises(Refused, match="is no package of the shop"):  # which is looked at next
        command.run_deploy(named, account, Say())


@pytest.mark.parametrize("what", ["deploy", "rollback"])
def test_who_else_deploys_is_said_before_anything_is_looked_at(account: Account, record: Record, what: str) -> None:
    run = {"deploy": command.run_deploy, "rollback": command.run_rollback}[what]
    more = ["--tag", "mine", "--templates", "/nowhere"] if what == "deploy" else []
    record.take()

    with pytest.raises(Held, match="is being deployed by somebody"):
        run(asked(what, "--yes", *more), account, Say())

    record.release()


# --- the way back ----------------------------------------------------------------------------------------------------
def test_a_way_back_that_leads_elsewhere_by_now_is_not_taken(
    account: Account, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = Release(name="three", source="three", package="releases/three.zip", previous="two")

    def deploy_meanwhile(*_: object, **__: object) -> None:
        record.take()
        record.begin(Attempt(kind="deploy", release=third))
        record.finish(third)

    monkeypatch.setattr(command, "ask", deploy_meanwhile)

    with pytest.raises(Refused, match="dev was deployed meanwhile: look again"):
        command.run_rollback(asked("rollback"), account, Say())

    record.read()
    assert (record.current, record.attempt, record.holder()) == ("three", None, "")


def test_a_way_back_says_which_migrations_stay(
    account: Account, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no(*_: object, **__: object) -> None:
        raise Refused("Nothing was done.")

    monkeypatch.setattr(command, "ask", no)

    with pytest.raises(Refused):
        command.run_rollback(asked("rollback"), account, Say())

    said = capsys.readouterr().out
    assert "back from two to one" in said
    assert "stays: orders.0009_more" in said
    assert "orders.0001" not in said


def test_a_way_back_to_where_one_is_does_nothing(
    account: Account, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    before = record._known

    command.run_rollback(asked("rollback", "--yes", "--to", "two"), account, Say())

    assert "dev is at two already: nothing was done" in capsys.readouterr().out
    record.read()
    assert record._known == before


def test_a_way_back_that_leads_elsewhere_than_was_said_is_not_taken(account: Account, record: Record) -> None:
    with pytest.raises(Refused, match="The way back from two leads to one, not to three"):
        command.run_rollback(asked("rollback", "--yes", "--to", "three"), account, Say())

    record.read()
    assert record.attempt is None


def test_a_way_back_of_a_deploy_that_was_cut_off_is_gone_on_with_when_it_is_cut_off_itself(
    account: Account, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no(*_: object, **__: object) -> None:
        raise Refused("Nothing was done.")

    monkeypatch.setattr(command, "ask", no)
    record.take()
    record.begin(Attempt(kind="rollback", release=SECOND, steps={"web: the switch": "begun"}))
    record.release()

    with pytest.raises(Refused, match="Nothing was done"):
        command.run_rollback(asked("rollback", "--to", "two"), account, Say())

    assert "back to two of ; it was cut off: what it has done is not done again" in capsys.readouterr().out


@pytest.mark.parametrize("gone", [False, True])
def test_a_way_back_is_through_also_where_what_a_deploy_left_cannot_be_deleted(
    account: Account, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gone: bool
) -> None:
    def busy(_: Functions) -> None:
        if not gone:
            raise ClientError({"Error": {"Code": "ResourceConflictException"}}, "DeleteFunction")

    monkeypatch.setattr(Functions, "clear_beside", busy)
    monkeypatch.setattr(command, "roll_back", lambda *_: [Step(name="web: the switch", do=lambda: "done")])

    command.run_rollback(asked("rollback", "--yes"), account, Say())

    record.read()
    assert (record.current, record.attempt, record.holder()) == ("one", None, "")
    assert ("was not all deleted" in capsys.readouterr().out) is not gone


def test_what_a_deploy_has_migrated_stays_when_the_one_goes_that_came_in_its_place(record: Record) -> None:
    begun = Attempt(kind="deploy", release=replace(SECOND, name="three"), steps={"migrations": "begun"})

    instead = command._instead_of(begun, "deploy", Release(name="four", source="four"))

    assert instead.release.migrations == SECOND.migrations
    assert command._instead_of(begun, "rollback", FIRST).release.migrations == (*FIRST.migrations, *SECOND.migrations)
    record.take()
    record.begin(begun)
    back_out([], record, Say())
    assert record.current == "two"
    assert record.releases["two"].migrations == (*SECOND.migrations, *SECOND.migrations)


def test_a_release_that_comes_again_has_the_migrations_that_it_brought_the_first_time(record: Record) -> None:
    record.take()
    record.begin(Attempt(kind="rollback", release=FIRST))
    record.finish(finished(record))
    record.take()
    record.begin(Attempt(kind="deploy", release=replace(SECOND, migrations=(), previous="")))

    again = finished(record)

    assert (again.migrations, again.previous) == (SECOND.migrations, "one")
    record.release()


# --- the lock --------------------------------------------------------------------------------------------------------
def tools(account: Account, record: Record) -> Tools:
    return command._tools(Stacks(account, {}), record, asked("rollback"), Say())


def test_stacks_are_changed_only_while_the_stage_is_ours(account: Account, record: Record) -> None:
    ours = tools(account, record)
    ours.stacks.turn.check()  # a plan is anybody's

    with command._locked(ours, asked("rollback"), Say()):
        ours.stacks.turn.check()

    with pytest.raises(Lost):
        ours.stacks.turn.check()


def test_a_lock_that_cannot_be_released_hides_nothing_of_what_went_wrong(
    account: Account, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Record(account.client("s3"), PACKAGES, "other")

    def fail() -> None:
        with command._locked(tools(account, record), asked("rollback"), Say()):
            other.read()
            other.take(break_lock=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    other.release()
    assert "The lock was not released" in capsys.readouterr().out


def test_a_lock_that_was_lost_is_said_first(account: Account, record: Record) -> None:
    other = Record(account.client("s3"), PACKAGES, "other")

    def lose() -> None:
        with command._locked(tools(account, record), asked("rollback"), Say()):
            other.read()
            other.take(break_lock=True)
            record.begin(Attempt(kind="deploy", release=FIRST))

    with pytest.raises(Lost):
        lose()

    other.read()
    assert other.holder().startswith("other"), "and nothing was taken from whoever has it"
    other.release()


# --- the package -----------------------------------------------------------------------------------------------------
def archive(folder: Path, **files: str) -> Path:
    made = folder / "package.zip"
    with zipfile.ZipFile(made, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    return made


@pytest.mark.parametrize(
    ("settings", "said"),
    [("API_STAGE='staging'\n", "was made for staging, not for dev: make package STAGE=dev"), ("", "for no stage")],
)
def test_a_package_of_another_stage_is_refused(tmp_path: Path, settings: str, said: str) -> None:
    made = archive(tmp_path, **{packages.RELEASE: "one\n", "zappa_settings.py": settings})

    with pytest.raises(Refused, match=said):
        releases.of_package(made, "dev")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in the place of this one."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "zappa_settings.json").write_text('{"shared": {"architecture": "arm64"}}')
    (folder / "code.py").write_text("before")
    who = ["-c", "user.name=tests", "-c", "user.email=tests@example.com"]
    for words in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "One"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    monkeypatch.setattr(releases, "REPOSITORY", folder)
    return folder


def test_a_checkout_with_changes_is_planned_without_a_name_and_deployed_with_one(checkout: Path) -> None:
    commit = releases.of_checkout("").name
    (checkout / "code.py").write_text("after")

    assert releases.of_checkout("", planned=True).name == f"{commit}-changed"
    with pytest.raises(Refused, match="The checkout has changes that no commit holds"):
        releases.of_checkout("")
    assert releases.of_checkout("try-1").name == "try-1"


def test_files_of_any_name_count_as_changes_and_a_repository_within_is_no_hindrance(checkout: Path) -> None:
    (checkout / "Lämp.txt").write_text("one")
    (checkout / "within").mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=checkout / "within", check=True)
    before = releases.of_checkout("try-1").source

    (checkout / "Lämp.txt").write_text("two")

    assert releases.of_checkout("try-1").source != before


@pytest.mark.parametrize("name", ["with space", "../other", "a/b", "-x", "", "x" * 65, "a;b"])
def test_a_name_that_no_key_and_no_image_can_have_is_refused(tmp_path: Path, checkout: Path, name: str) -> None:
    made = archive(tmp_path, **{packages.RELEASE: f"{name}\n", "zappa_settings.py": "API_STAGE='dev'\n"})

    with pytest.raises(Refused, match="A release cannot be called"):
        releases.of_package(made, "dev")
    if name:
        with pytest.raises(Refused, match="A release cannot be called"):
            releases.of_checkout(name)


def test_a_package_is_called_what_it_says_and_nothing_else() -> None:
    with pytest.raises(SystemExit):
        asked("deploy", "--package", "x.zip", "--tag", "mine")


@pytest.mark.parametrize("of", ["a checkout", "a package"])
def test_what_production_has_is_told_to_git_by_the_command_that_is_printed_last(
    account: Account, record: Record, checkout: Path, capsys: pytest.CaptureFixture[str], of: str
) -> None:
    commit = releases.of_checkout("").source
    name, source = ("try-1", commit) if of == "a checkout" else (commit, "0" * 12)
    deployed = Release(name=name, source=source)
    record.take()
    record.begin(Attempt(kind="deploy", release=deployed))
    record.finish(deployed)
    account.stage = STAGES["production"]

    command._say_how_to_tag(record, account, Say())

    make_the_tag = capsys.readouterr().out.partition("Let git know: ")[2].partition(" && git push origin ")[0]
    who = {f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(shlex.split(make_the_tag), cwd=checkout, env={**os.environ, **who}, check=True)
    tags = ["git", "for-each-ref", "--format=%(objecttype) %(*objectname)", "refs/tags/release-*"]
    found = subprocess.run(tags, cwd=checkout, check=True, capture_output=True, text=True).stdout
    assert found.startswith(f"tag {commit}")


def test_no_other_stage_than_production_is_tagged(
    account: Account, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    command._say_how_to_tag(record, account, Say())

    assert capsys.readouterr().out == ""


# --- make ------------------------------------------------------------------------------------------------------------
def told_by_make(*words: str, **environment: str) -> list[str]:
    """What make would run."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["make", "--dry-run", *words],
        cwd=REPOSITORY,
        env=kept | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return shlex.split(done.stdout.partition("infrastructure.deploying")[2].replace("\\\n", " "))


def test_make_takes_one_for_yes_and_nothing_else() -> None:
    flags = {"PLAN": "--plan", "YES": "--yes", "MAY_LOSE": "--may-lose", "BREAK_LOCK": "--break-lock"}

    assert told_by_make("deploy", *(f"{name}=1" for name in flags)) == ["deploy", "--stage", "dev", "--plan",
        "--may-lose", "--yes", "--break-lock"]  # fmt: skip
    for said in ("0", ""):
        assert told_by_make("deploy", *(f"{name}={said}" for name in flags)) == ["deploy", "--stage", "dev"]


def test_make_tells_the_pipeline_what_may_be_lost_and_the_smoke_test_how_long_it_has() -> None:
    assert told_by_make("pipeline", "YES=1", "MAY_LOSE=1") == [".pipeline", "--yes", "--may-lose"]
    for what in ("deploy", "rollback"):
        assert told_by_make(what, "PATIENCE=1800") == [what, "--stage", "dev", "--patience", "1800"]


@pytest.mark.parametrize("name", ["PLAN", "YES", "MAY_LOSE", "BREAK_LOCK"])
@pytest.mark.parametrize("said", ["true", "yes", "no", "1 1", "01"])
def test_make_refuses_what_is_neither_yes_nor_no(name: str, said: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        told_by_make("deploy", f"{name}={said}")

    assert f"{name}={said} is neither 1, yes, nor 0, no" in refused.value.stderr
    assert "infrastructure.deploying" not in refused.value.stdout


def test_a_plan_is_asked_for_wherever_make_is_told_so() -> None:
    assert told_by_make("deploy", PLAN="1") == ["deploy", "--stage", "dev", "--plan"]
    assert told_by_make("pipeline", PLAN="1") == [".pipeline", "--plan"]
    for words, environment in (
        (["deploy"], {"PLAN": "true"}),
        (["rollback"], {"PLAN": "1"}),
        (["rollback", "PLAN=1"], {}),
    ):
        with pytest.raises(subprocess.CalledProcessError, match="non-zero exit status"):
            told_by_make(*words, **environment)


def test_make_takes_from_the_environment_what_the_pipelines_set_and_nothing_else() -> None:
    said = {"TAG": "mine", "STAGE": "production", "ACCOUNT": OTHER, "MAY_LOSE": "1", "BREAK_LOCK": "1",
            "TO": "one", "BRANCH": "mine", "REPOSITORY": "o/r"}  # fmt: skip
    sets = {"ROLE": "arn:role", "YES": "1"}

    assert told_by_make("deploy", **said, **sets) == ["deploy", "--stage", "dev", "--role", "arn:role", "--yes"]
    assert told_by_make("rollback", **said) == ["rollback", "--stage", "dev"]
    assert told_by_make("pipeline", **said) == [".pipeline"]
    assert told_by_make("deploy", "STAGE=staging", "TAG=a b") == ["deploy", "--stage", "staging", "--tag", "a b"]
    assert told_by_make("rollback", "TO=one", f"ACCOUNT={OTHER}") == ["rollback", "--stage", "dev", "--to", "one",
        "--account", OTHER]  # fmt: skip
    assert told_by_make("pipeline", "REPOSITORY=o/r") == [".pipeline", "--repository", "o/r"]


# --- the checkout ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_package_has_the_code_that_the_plan_was_made_for(
    account: Account, bucket: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def build(stage: str, architecture: str, folder: Path, *_: object, **__: object) -> Path:
        folder.mkdir()
        if when == "while":
            (checkout / "code.py").write_text("after")
        return archive(folder, code=(checkout / "code.py").read_text())

    monkeypatch.setattr(packages, "build", build)
    planned = releases.of_checkout("")
    if when == "before":
        (checkout / "code.py").write_text("after")

    with pytest.raises(Refused, match=f"The checkout has changed since the plan: it was {planned.source}, and is "):
        releases.Bucket(account).keep(planned, None)

    kept = account.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert not any(planned.name in each["Key"] for each in kept)


def test_a_package_that_cannot_be_made_here_is_a_refusal_and_no_end_of_the_program(
    account: Account, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "PYTHON", (3, 99))

    with pytest.raises(Refused, match=r"cannot be made here: The package needs bytecode of Python 3\.99"):
        releases.Bucket(account).keep(releases.of_checkout(""), None)
