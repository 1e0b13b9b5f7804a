"""What a deploy and a way back decide before they do anything, and what they refuse: at the local AWS."""

import argparse
import json
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infrastructure import package as packages
from infrastructure.config import REGION, STAGES
from infrastructure.deploying import __main__ as command
from infrastructure.deploying import releases
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.assembly import Template
from infrastructure.deploying.record import Attempt, Held, Lost, Record, Release
from infrastructure.deploying.say import Say
from infrastructure.deploying.stacks import Stacks
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
    made.take()
    for each in (FIRST, SECOND):
        made.begin(Attempt(kind="deploy", release=each))
        made.finish(each)
    made.release()
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
    before = json.dumps(record._told)

    with pytest.raises(Refused, match=f"You are in account {LOCAL_ACCOUNT}; dev belongs to {OTHER}"):
        run(asked(what, "--yes", "--account", OTHER), account, Say())

    record.read()
    assert json.dumps(record._told) == before


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

    def deploy_meanwhile(*_: object) -> None:
        record.take()
        record.begin(Attempt(kind="deploy", release=third))
        record.finish(third)
        record.release()

    monkeypatch.setattr(command, "_ask", deploy_meanwhile)

    with pytest.raises(Refused, match="dev was deployed meanwhile: look again"):
        command.run_rollback(asked("rollback"), account, Say())

    record.read()
    assert (record.current, record.attempt, record.holder()) == ("three", None, "")


def test_a_way_back_says_which_migrations_stay(
    account: Account, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no(*_: object) -> None:
        raise Refused("Nothing was done.")

    monkeypatch.setattr(command, "_ask", no)

    with pytest.raises(Refused):
        command.run_rollback(asked("rollback"), account, Say())

    said = capsys.readouterr().out
    assert "back from two to one" in said
    assert "stays: orders.0009_more" in said
    assert "orders.0001" not in said


def test_a_lock_that_cannot_be_released_hides_nothing_of_what_went_wrong(
    account: Account, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Record(account.client("s3"), PACKAGES, "other")

    def fail() -> None:
        with command._locked(record, asked("rollback"), Say()):
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
        with command._locked(record, asked("rollback"), Say()):
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
