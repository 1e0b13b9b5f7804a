"""`make deploy` and `make rollback` on the local AWS: killed anywhere, twice at once, and when what comes is bad."""

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.infrastructure.stage_here import WAITING, StageHere, stage_here
from vibecode.local.folder import REPOSITORY
from vibecode.resources import LOCAL_ACCOUNT

STEPS = [
    "stack foundation", "stack network", "stack worldwide", "stack front", "stack runtime", "secrets", "database roles",
    "package", "worker", "migrations", "static files", "web: the switch", "stack front, after Zappa",
    "stack integrations, after Zappa", "smoke test", "figures",
]  # fmt: skip
# Seconds after the beginning of a step, at most, until it is killed: within it, whatever it is at.
LONGEST = {"worker": 2, "web: the switch": 4}
SOON = 0.02


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[StageHere]:
    """An account to which nothing was deployed."""
    with stage_here(tmp_path) as stage:
        yield stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageHere]:
    """A stage with its first release."""
    with stage_here(tmp_path_factory.mktemp("stage")) as stage:
        done = stage.run("deploy", release="one")
        assert done.returncode == 0, done.stdout
        assert stage.releases == ("one", "one")
        yield stage


def started(stage: StageHere, *words: str, release: str) -> subprocess.Popen[str]:
    """A deploy that runs by itself."""
    return subprocess.Popen(
        stage.command("deploy", *words, release=release),
        cwd=REPOSITORY,
        env=stage.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def begins(process: subprocess.Popen[str], *steps: str) -> str:
    """Wait until it begins one of these steps, which; empty where it ends before."""
    assert process.stdout is not None
    for line in process.stdout:
        for step in steps:
            if line.rstrip().endswith(f"… {step}"):
                return step
    return ""


@contextmanager
def held(process: subprocess.Popen[str]) -> Iterator[None]:
    """It does nothing meanwhile, as a laptop that sleeps."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_killed_in_each_step_in_turn_the_next_run_goes_on_to_the_end(empty: StageHere, seed: int) -> None:
    chance, killed = random.Random(seed), list[str]()
    while True:
        process = started(empty, "--break-lock", release="one")
        step = begins(process, *(step for step in STEPS if step not in killed))
        if not step:
            break
        time.sleep(chance.uniform(0, LONGEST.get(step, SOON)))
        process.kill()
        process.communicate()
        killed.append(step)

    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert killed == STEPS
    assert empty.releases == ("one", "one")
    assert empty.applied == WAITING
    assert empty.keys("static") == {"shop.one.css"}
    record = empty.record
    assert (record["lock"], record["attempt"], record["current"]) == (None, None, "one")
    api = empty.client("ssm").get_parameter(Name="/api")["Parameter"]["Value"]
    origin = empty.client("ssm").get_parameter(Name="/origin")["Parameter"]["Value"]
    assert origin == f"{api}.execute-api.eu-north-1.amazonaws.com|arn:acl", "from Zappa, and from another region"
    assert [each["id"] for each in empty.client("apigateway").get_rest_apis()["items"]] == [api]


def test_what_a_plan_says_is_not_done(stage: StageHere) -> None:
    before = stage.record

    done = stage.run("deploy", "--plan", release="planned")

    assert done.returncode == 0, done.stdout
    assert "release planned" in done.stdout
    assert f"account {LOCAL_ACCOUNT}" in done.stdout
    assert "stack network: no change" in done.stdout
    assert stage.record == before
    assert not any("planned" in key for key in stage.keys("packages"))


def test_of_two_deploys_at_once_the_second_is_refused_and_changes_nothing(stage: StageHere) -> None:
    first = started(stage, release="two")
    assert begins(first, "worker") == "worker"

    with held(first):
        second = stage.run("deploy", release="three")

    assert second.returncode == 1, second.stdout
    assert "This stage is being deployed by" in second.stdout
    assert "… " not in second.stdout, "no step was begun"
    said, _ = first.communicate()
    assert first.returncode == 0, said
    assert stage.releases == ("two", "two")
    assert not any("three" in key for key in stage.keys("packages"))


def test_a_holder_whose_lock_was_broken_does_nothing_more(stage: StageHere) -> None:
    first = started(stage, release="slow")
    assert begins(first, "database roles") == "database roles"

    with held(first):
        second = stage.run("deploy", "--break-lock", release="quick")

    said, _ = first.communicate()
    assert first.returncode == 1, said
    assert "Nothing more was done" in said
    assert second.returncode == 0, second.stdout
    assert stage.releases == ("quick", "quick")
    assert stage.record["current"] == "quick"


def test_what_fails_its_smoke_test_goes_back_by_itself(stage: StageHere) -> None:
    before, good = stage.record, stage.record["current"]
    stage.broken = "bad"

    done = stage.run("deploy", "--patience", "0", release="bad")

    assert done.returncode == 1, done.stdout
    assert "/healthz answers 500" in done.stdout
    assert "Both functions of dev and their files are as they were before" in done.stdout
    assert done.stdout.index("✓ back: web: the switch") < done.stdout.index("✓ back: worker"), "who asks goes first"
    assert stage.releases == (good, good)
    assert stage.record == before
    assert {f"shop.{good}.css", "shop.bad.css"} <= stage.keys("static"), "pages of either release find their files"


def test_killed_on_its_way_back_the_next_run_ends_it(stage: StageHere) -> None:
    assert stage.run("deploy", release="fine").returncode == 0
    stage.broken = "worse"
    process = started(stage, "--patience", "0", release="worse")
    assert begins(process, "back: worker") == "back: worker"
    process.kill()
    process.communicate()

    done = stage.run("deploy", "--patience", "0", "--break-lock", release="worse")

    assert done.returncode == 1, done.stdout
    assert "cut off on its way back" in done.stdout
    assert stage.releases == ("fine", "fine")
    assert stage.record["attempt"] is None


def test_a_rollback_brings_code_and_files_back_as_one(stage: StageHere) -> None:
    older = stage.record["current"]
    assert stage.run("deploy", release="newer").returncode == 0

    done = stage.run("rollback")

    assert done.returncode == 0, done.stdout
    assert f"back from newer to {older}" in done.stdout
    assert stage.releases == (older, older)
    assert stage.record["current"] == older
    assert {f"shop.{older}.css", "shop.newer.css"} <= stage.keys("static")
    assert stage.applied == WAITING, "the schema stays"


def test_a_rollback_of_a_deploy_that_was_cut_off_brings_back_what_was_there(stage: StageHere) -> None:
    there = stage.record["current"]
    process = started(stage, release="half")
    assert begins(process, "stack front, after Zappa")
    process.kill()
    process.communicate()
    assert stage.releases == ("half", "half")

    done = stage.run("rollback", "--break-lock")

    assert done.returncode == 0, done.stdout
    assert f"back from half to {there}" in done.stdout
    assert stage.releases == (there, there)
    assert (stage.record["current"], stage.record["attempt"]) == (there, None)


def test_what_would_be_lost_is_red_and_needs_a_word_of_its_own(stage: StageHere) -> None:
    stage.stacks(network={"Kept": {"Type": "AWS::SSM::Parameter", "Properties": {
        "Name": "/kept", "Type": "String", "Value": "1"}}})  # fmt: skip
    assert stage.run("deploy", release="larger").returncode == 0
    stage.stacks()

    refused = stage.run("deploy", release="smaller")

    assert refused.returncode == 1, refused.stdout
    assert "REMOVED OR REPLACED: AWS::SSM::Parameter Kept" in refused.stdout
    assert "--may-lose" in refused.stdout
    assert stage.client("ssm").get_parameter(Name="/kept")["Parameter"]["Value"] == "1"
    assert stage.releases == ("larger", "larger")

    assert stage.run("deploy", "--may-lose", release="smaller").returncode == 0
    assert "/kept" not in [each["Name"] for each in stage.client("ssm").describe_parameters()["Parameters"]]


def test_before_the_first_release_there_is_nothing_to_go_back_to(empty: StageHere) -> None:
    empty.broken = "one"

    failed = empty.run("deploy", "--patience", "0", release="one")
    back = empty.run("rollback")
    empty.broken = ""
    again = empty.run("deploy", release="one")

    assert failed.returncode == 1
    assert "run it again: it goes on where it was" in failed.stdout
    assert back.returncode == 1
    assert "There is nothing to go back to" in back.stdout
    assert again.returncode == 0, again.stdout
    assert "✓ web: the switch  done before" in again.stdout
