"""`make deploy` and `make rollback` on the local AWS: killed anywhere, twice at once, and when what comes is bad."""

import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from accounts.authentication import KeySet
from infrastructure.database_roles import statements
from tests.in_process import FULL
from tests.infrastructure.stage_here import (
    BACK,
    BEGINNING,
    END,
    LOCK,
    NEXT,
    PACKAGES,
    PREFIX,
    WAITING,
    WORKER,
    Blow,
    StageHere,
    stage_here,
)
from vibecode.resources import LOCAL_ACCOUNT

BEFORE = ["stack foundation", "stack network", "stack worldwide", "stack front", "stack identity", "stack runtime",
          "secrets", "database roles", "package", "migrations", "static files", "trial"]  # fmt: skip
AFTER = ["worker", "web: the switch", "stack front, after Zappa", "stack integrations, after Zappa", "smoke test"]
FIRST = [LOCK, BEGINNING, *BEFORE, *AFTER, "figures", END]
LATER = [LOCK, BEGINNING, *BEFORE, *AFTER, END]
ROLLBACK = [LOCK, BEGINNING, "static files", "web: the switch", "worker", "smoke test", END]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[StageHere]:
    """An account to which nothing was deployed."""
    with stage_here(tmp_path) as stage:
        yield stage


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """A stage whose first release did not answer well when it was first tried; then it did."""

    stage: StageHere
    failed: subprocess.CompletedProcess[str]
    there: set[str]  # the functions, after that
    back: subprocess.CompletedProcess[str]
    again: subprocess.CompletedProcess[str]
    calls: Counter[str]  # of AWS, that each step was seen to make


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    """The first release, at the second try."""
    with stage_here(tmp_path_factory.mktemp("stage")) as stage:
        stage.broken = "one"
        failed = stage.run("deploy", "--patience", "0", release="one")
        calls, there = stage.calls, stage.functions
        back = stage.run("rollback")
        stage.broken = ""
        again = stage.run("deploy", release="one")
        # Of each step that was taken twice the fewer: a stack is made, or does not change; a trial goes well, or not.
        both = {step: [each for each in (calls[step], stage.calls[step]) if each] for step in calls | stage.calls}
        calls = Counter({step: min(counted) for step, counted in both.items()})
        yield First(stage=stage, failed=failed, there=there, back=back, again=again, calls=calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """A second release with a migration of its own, and the way back from it."""

    deployed: subprocess.CompletedProcess[str]
    had: tuple[str, str]  # the releases of the functions, after that
    deploying: Counter[str]  # the calls of AWS that each step was seen to make
    back: subprocess.CompletedProcess[str]
    has: tuple[str, str]
    going_back: Counter[str]


@pytest.fixture(scope="module")
def there_and_back(first: First) -> There:
    """A stage that is at its first release again."""
    stage = first.stage
    assert first.again.returncode == 0, first.again.stdout
    stage.waiting.append("orders.0003_a_column_for_the_worker")
    deployed = stage.run("deploy", release="two")
    had, deploying = stage.releases, stage.calls
    back = stage.run("rollback")
    has, going_back = stage.releases, stage.calls
    return There(deployed=deployed, had=had, deploying=deploying, back=back, has=has, going_back=going_back)


@pytest.fixture
def stage(first: First, there_and_back: There) -> StageHere:
    """That stage, with what was deployed to it since."""
    assert there_and_back.back.returncode == 0, there_and_back.back.stdout
    first.stage.broken = first.stage.unreachable = ""
    return first.stage


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


def blows(steps: list[str], calls: Counter[str], chance: random.Random, few: int) -> list[Blow]:
    """Where a chain of runs is killed, each a little further: within all steps at full scale, else within a few."""
    chosen = steps if FULL else sorted(chance.sample(steps, few), key=steps.index)
    return [Blow(step=step, call=chance.randint(1, calls[step]), after=chance.random() < 0.5) for step in chosen]


def killed(stage: StageHere, chain: list[Blow], *command: str, release: str = "") -> None:
    """Run it again and again until nobody kills it."""
    for blow in chain:
        cut_off = stage.run(*command, "--break-lock", release=release, blow=blow)
        assert stage.blow is None, f"{blow} did not strike:\n{cut_off.stdout}"
        assert cut_off.returncode == -signal.SIGKILL, cut_off.stdout
    done = stage.run(*command, "--break-lock", release=release)
    assert done.returncode == 0, f"{chain}\n{done.stdout}"


def leave_beside(stage: StageHere) -> None:
    """A function beside the others, as a deploy leaves it that is killed."""
    told = stage.client("lambda").get_function_configuration(FunctionName=WORKER)
    stage.client("lambda").create_function(
        FunctionName=NEXT,
        Runtime=told["Runtime"],
        Role=told["Role"],
        Handler=told["Handler"],
        Code={"S3Bucket": PACKAGES, "S3Key": next(key for key in stage.keys("packages") if key.endswith(".zip"))},
    )


def leave_a_change_set(stage: StageHere) -> None:
    """A stack that was never begun, as a deploy leaves it that is killed before it executes the change set."""
    stage.client("cloudformation").create_change_set(
        StackName=f"{PREFIX}-network",
        ChangeSetName="deploy-0",
        ChangeSetType="CREATE",
        TemplateBody='{"Resources": {"Left": {"Type": "AWS::SNS::Topic"}}}',
    )


def test_a_first_deploy_that_is_killed_within_its_steps_goes_on_to_the_end(
    first: First, empty: StageHere, seed: int
) -> None:
    leave_a_change_set(empty)

    killed(empty, blows(FIRST, first.calls, random.Random(seed), 3), "deploy", release="one")

    assert empty.releases == ("one", "one")
    assert empty.functions == {PREFIX, WORKER}, "what was beside them is gone"
    assert empty.keys("static") == {"shop.one.css"}
    assert list(dict.fromkeys(empty.statements)) == list(statements())
    assert empty.applied == WAITING
    assert empty.migrated - {("one", "one")} == {("one", "")}, "killed when it was over it is deployed once more"
    assert empty.figures[-2:] == [{}, {"after": 7}]
    assert empty.settings["OIDC_CLIENT_SECRET"] == empty.desk_secret
    assert empty.settings["STRIPE_API_KEY"] == "sk", "what was put there by hand stays"
    record = empty.record
    assert (record["lock"], record["attempt"], record["current"]) == (None, None, "one")
    api = empty.client("ssm").get_parameter(Name="/api")["Parameter"]["Value"]
    origin = empty.client("ssm").get_parameter(Name="/origin")["Parameter"]["Value"]
    assert origin == f"{api}.execute-api.eu-north-1.amazonaws.com|arn:acl", "from Zappa, and from another region"
    assert [each["id"] for each in empty.client("apigateway").get_rest_apis()["items"]] == [api]


@pytest.mark.parametrize("turn", range(3 if FULL else 1))
def test_a_later_deploy_that_is_killed_within_its_steps_goes_on_to_the_end(
    stage: StageHere, there_and_back: There, seed: int, turn: int
) -> None:
    release, before = f"killed{turn}", stage.record["current"]
    stage.waiting.append(f"catalog.{turn:04}_later")
    stage.client("s3").put_object(Bucket=PACKAGES, Key="releases/of-a-deploy-that-failed.zip", Body=b"")

    killed(stage, blows(LATER, there_and_back.deploying, random.Random(seed), 2), "deploy", release=release)

    assert stage.releases == (release, release)
    assert stage.functions == {PREFIX, WORKER}
    assert stage.applied == stage.waiting
    assert {pair for pair in stage.migrated if release in pair} - {(release, release)} == {(release, before)}
    assert f"shop.{release}.css" in stage.keys("static")
    record = stage.record
    assert (record["current"], record["attempt"], record["lock"]) == (release, None, None)
    packages = {
        key for key in stage.keys("packages") if key.startswith("releases/")
    }  # beside what Zappa leaves, killed
    assert packages == {each["package"] for each in record["releases"]}


@pytest.mark.parametrize("turn", range(3 if FULL else 1))
def test_a_rollback_that_is_killed_within_its_steps_goes_on_to_the_end(
    stage: StageHere, there_and_back: There, seed: int, turn: int
) -> None:
    now, chance = stage.record["current"], random.Random(seed + turn)
    before = next(each["previous"] for each in stage.record["releases"] if each["name"] == now)
    leave_beside(stage)
    chain = blows(ROLLBACK[:-1], there_and_back.going_back, chance, 1)
    chain.append(Blow(step=END, call=1, after=chance.random() < 0.5))

    killed(stage, chain, "rollback", "--to", before)

    assert stage.releases == (before, before)
    assert stage.functions == {PREFIX, WORKER}, "also what a deploy left that was killed, and that nobody deployed over"
    assert (stage.record["current"], stage.record["attempt"], stage.record["lock"]) == (before, None, None)


def test_while_a_release_migrates_the_worker_has_the_one_before(first: First, there_and_back: There) -> None:
    assert there_and_back.deployed.returncode == 0, there_and_back.deployed.stdout
    assert first.stage.applied[:3] == [*WAITING, "orders.0003_a_column_for_the_worker"]
    assert {("one", ""), ("two", "one")} <= first.stage.migrated
    assert {pair for pair in first.stage.migrated if "two" in pair} == {("two", "one")}
    brought = {each["name"]: each["migrations"] for each in first.stage.record["releases"]}
    assert brought["one"] == WAITING, "which were two calls"
    assert brought["two"] == ["orders.0003_a_column_for_the_worker"], "what stays when it goes"


def test_a_rollback_brings_code_and_files_back_as_one(stage: StageHere, there_and_back: There) -> None:
    assert there_and_back.had == ("two", "two")
    assert "back from two to one" in there_and_back.back.stdout
    assert there_and_back.has == ("one", "one")
    assert {"shop.one.css", "shop.two.css"} <= stage.keys("static")
    assert stage.applied == stage.waiting, "the schema stays"


def test_functions_begin_with_the_keys_of_the_pool(first: First) -> None:
    stage = first.stage
    told = stage.client("lambda").get_function_configuration(FunctionName=PREFIX)["Environment"]["Variables"]
    keys = f"{stage.endpoint}/{told['COGNITO_USER_POOL_ID']}/.well-known/jwks.json"

    seed = KeySet("http://127.0.0.1:9/nobody", seed=told["COGNITO_JWKS"])

    for key in httpx.get(keys, trust_env=False).json()["keys"]:
        assert seed.key(key["kid"]).key_id == key["kid"]


def test_the_function_beside_is_told_what_zappa_tells_the_one_that_it_stands_for(first: First) -> None:
    made = first.stage.made
    known = {"FunctionName": NEXT, "Code": None, "LoggingConfig": None}
    for which, ours in zip((WORKER, PREFIX), made[NEXT][:2], strict=True):
        (zappas,) = made[which]
        assert ours["LoggingConfig"] == {"LogGroup": f"/aws/lambda/{which}"}, "its role may write to no other"
        assert ours["Code"] == zappas["Code"]
        same = ours.keys() - known.keys() - {"Tags"}
        assert {name: ours[name] for name in same} == {name: zappas[name] for name in same}
        more = {name: value for name, value in zappas.items() if name not in ours}
        assert more == {
            "Publish": True,
            "PackageType": "Zip",
            "EphemeralStorage": {"Size": 512},
            "DeadLetterConfig": {},
            "FileSystemConfigs": [],
            "SnapStart": {"ApplyOn": "None"},
        }


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
    first = stage.start("deploy", release="quicker")
    assert begins(first, "worker") == "worker"

    with held(first):
        second = stage.run("deploy", release="three")

    assert second.returncode == 1, second.stdout
    assert "This stage is being deployed by" in second.stdout
    assert "… " not in second.stdout, "no step was begun"
    said, _ = first.communicate()
    assert first.returncode == 0, said
    assert stage.releases == ("quicker", "quicker")
    assert not any("three" in key for key in stage.keys("packages"))


def test_a_holder_whose_lock_was_broken_does_nothing_more(stage: StageHere) -> None:
    first = stage.start("deploy", release="slow")
    assert begins(first, "database roles") == "database roles"

    with held(first):
        second = stage.run("deploy", "--break-lock", release="quick")

    said, _ = first.communicate()
    assert first.returncode == 1, said
    assert "Nothing more was done" in said
    assert second.returncode == 0, second.stdout
    assert stage.releases == ("quick", "quick")
    assert stage.record["current"] == "quick"


def test_what_does_not_answer_well_beside_the_others_is_given_to_nobody(stage: StageHere) -> None:
    before, good = stage.record, stage.record["current"]
    stage.broken = "bad"

    done = stage.run("deploy", "--patience", "0", release="bad")

    assert done.returncode == 1, done.stdout
    assert f"{NEXT}/healthz answers 500" in done.stdout
    assert "… worker" not in done.stdout
    assert stage.releases == (good, good)
    assert stage.functions == {PREFIX, WORKER}
    assert (stage.record["current"], stage.record["releases"]) == (good, before["releases"])


def test_what_fails_its_smoke_test_goes_back_by_itself(stage: StageHere) -> None:
    before, good = stage.record, stage.record["current"]
    stage.unreachable = "lost"

    done = stage.run("deploy", "--patience", "0", release="lost")

    assert done.returncode == 1, done.stdout
    assert "/healthz answers 502" in done.stdout
    assert f"Going back to {good}." in done.stdout
    assert f"Both functions of dev have {good} again" in done.stdout
    assert done.stdout.index("✓ back: web: the switch") < done.stdout.index("✓ back: worker"), "who asks goes first"
    assert stage.releases == (good, good)
    assert stage.record == {**before, "attempt": None}
    assert {f"shop.{good}.css", "shop.lost.css"} <= stage.keys("static"), "pages of either release find their files"


def test_killed_on_its_way_back_the_next_run_ends_it(stage: StageHere) -> None:
    good, stage.unreachable = stage.record["current"], "worse"
    process = stage.start("deploy", "--patience", "0", release="worse")
    assert begins(process, "back: worker") == "back: worker"
    process.kill()
    process.communicate()

    done = stage.run("deploy", "--patience", "0", "--break-lock", release="worse")

    assert done.returncode == 1, done.stdout
    assert f"A deploy that was to bring worse had failed, and was cut off on its way back to {good}" in done.stdout
    assert "stack network" not in done.stdout, "nothing is planned before that"
    assert stage.releases == (good, good)
    assert (stage.record["current"], stage.record["attempt"]) == (good, None)


def test_killed_at_the_end_of_its_way_back_a_rollback_leads_no_further(stage: StageHere) -> None:
    good, stage.unreachable = stage.record["current"], "worst"
    stage.run("deploy", "--patience", "0", release="worst", blow=Blow(step=END, call=1, after=False))
    assert stage.blow is None
    assert stage.record["attempt"]["backing_out"]

    done = stage.run("rollback", "--break-lock")

    assert done.returncode == 0, done.stdout
    assert f"back from worst to {good}" in done.stdout
    assert stage.releases == (good, good)
    assert (stage.record["current"], stage.record["attempt"]) == (good, None)


def test_a_rollback_that_fails_brings_the_release_that_it_left_also_when_it_is_killed_meanwhile(
    stage: StageHere,
) -> None:
    before = stage.record["current"]
    assert stage.run("deploy", release="better").returncode == 0
    stage.unreachable = before

    cut_off = stage.run("rollback", "--patience", "0", blow=Blow(step=BACK, call=1, after=False))
    done = stage.run("deploy", "--break-lock", release="never")

    assert "Going back to better." in cut_off.stdout
    assert stage.blow is None
    assert done.returncode == 1, done.stdout
    assert f"A rollback that was to bring {before} had failed, and was cut off on its way back to better" in done.stdout
    assert "Both functions of dev have better again" in done.stdout
    assert done.stdout.index("✓ back: worker") < done.stdout.index("✓ back: web: the switch"), "who is asked goes first"
    assert stage.releases == ("better", "better")
    assert (stage.record["current"], stage.record["attempt"]) == ("better", None)


def test_a_rollback_of_a_deploy_that_was_cut_off_brings_back_what_was_there(stage: StageHere) -> None:
    there = stage.record["current"]
    process = stage.start("deploy", release="half")
    assert begins(process, "stack front, after Zappa")
    process.kill()
    process.communicate()
    assert stage.releases == ("half", "half")

    done = stage.run("rollback", "--break-lock")

    assert done.returncode == 0, done.stdout
    assert f"back from half to {there}" in done.stdout
    taken = [done.stdout.index(f"✓ {step}  ") for step in ("web: the switch", "worker", "smoke test")]
    assert taken == sorted(taken), "who asks goes first, and it is tried"
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


def test_before_the_first_release_there_is_nothing_to_go_back_to(first: First) -> None:
    assert first.failed.returncode == 1
    assert f"{NEXT}/healthz answers 500" in first.failed.stdout
    assert "run it again: it goes on where it was" in first.failed.stdout
    assert first.there == set(), "nothing was deployed"
    assert first.back.returncode == 1
    assert "There is nothing to go back to" in first.back.stdout
    assert first.again.returncode == 0, first.again.stdout
    assert "✓ migrations  done before" in first.again.stdout
