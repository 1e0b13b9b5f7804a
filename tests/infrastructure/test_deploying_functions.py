"""Functions that Lambda is not done with or refuses, and the one beside. Exact calls, by stubbed_aws.py."""

import base64
import hashlib

import pytest

from infrastructure.deploying import functions, waiting
from infrastructure.deploying.account import Refused, WentWrong
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.waiting import Turn
from infrastructure.deploying.zappa import Zappa
from tests.infrastructure.stubbed_aws import NUMBER, Aws, has_api, is_there


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What Zappa was told."""
    monkeypatch.setattr(waiting, "PAUSE", 0)
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(Zappa, "run", lambda _, *words: told.append(words))
    return told


def test_what_an_update_left_unfinished_is_waited_for(aws: Aws, commands: list[tuple[str, ...]]) -> None:
    unfinished = {"State": "Active", "LastUpdateStatus": "InProgress"}
    slept = {"State": "Inactive", "LastUpdateStatus": "Successful"}  # for weeks: it is no reason to wait
    is_there(aws, "vibecode-dev-worker", {"State": "Pending"}, unfinished, slept)
    is_there(aws, "vibecode-dev-worker", unfinished, slept)  # of what Zappa has told it

    assert Functions(aws.account, Turn()).put("worker", "releases/x.zip") == "zappa update"

    archive = f"s3://vibecode-dev-packages-{NUMBER}/releases/x.zip"
    assert commands == [("update", "dev-worker", "--zip", archive)]


def test_a_function_that_could_not_be_made_is_named(aws: Aws, commands: list[tuple[str, ...]]) -> None:
    is_there(aws, "vibecode-dev-worker", {"State": "Failed", "StateReason": "No subnet has an address left"})

    with pytest.raises(WentWrong, match="vibecode-dev-worker could not be made: No subnet has an address left"):
        Functions(aws.account, Turn()).put("worker", "releases/x.zip")
    assert commands == []


def test_settings_that_lambda_does_not_take_are_no_success_and_what_failed_before_is_no_hindrance(
    aws: Aws, commands: list[tuple[str, ...]]
) -> None:
    failed = {
        "State": "Active",
        "LastUpdateStatus": "Failed",
        "LastUpdateStatusReason": "No subnet has an address left",
    }
    fine = {"State": "Active", "LastUpdateStatus": "Successful"}
    is_there(aws, "vibecode-dev-worker", fine, {"State": "Active", "LastUpdateStatus": "InProgress"}, failed)
    is_there(aws, "vibecode-dev-worker", failed, fine)

    with pytest.raises(WentWrong, match="vibecode-dev-worker could not be given its settings: No subnet has an"):
        Functions(aws.account, Turn()).put("worker", "releases/x.zip")
    Functions(aws.account, Turn()).put("worker", "releases/x.zip")

    assert len(commands) == 2


@pytest.mark.parametrize("status", ["", "ROLLBACK_COMPLETE", "CREATE_FAILED"])
def test_a_web_function_without_an_api_makes_way_in_a_first_deploy_with_what_is_left_of_its_stack(
    aws: Aws, commands: list[tuple[str, ...]], status: str
) -> None:
    if status:
        has_api(aws, "ROLLBACK_IN_PROGRESS", status)
        aws("cloudformation").add_response("delete_stack", {}, {"StackName": "vibecode-dev"})
        aws.is_now("DELETE_IN_PROGRESS", "vibecode-dev")
        aws.is_now("", "vibecode-dev")
    else:
        has_api(aws, "")
    aws("lambda").add_response("delete_function", {}, {"FunctionName": "vibecode-dev"})
    is_there(aws, "vibecode-dev", {"State": "Active"})

    assert Functions(aws.account, Turn()).put("web", "releases/x.zip", first=True) == "zappa deploy"


@pytest.mark.parametrize("status", ["", "ROLLBACK_COMPLETE"])
def test_a_later_deploy_deletes_nothing_of_the_sort_and_says_what_helps(
    aws: Aws, commands: list[tuple[str, ...]], status: str
) -> None:
    has_api(aws, status)

    with pytest.raises(Refused, match=r"No API .* is there.*delete-stack .*aws lambda delete-function"):
        Functions(aws.account, Turn()).put("web", "releases/x.zip")
    assert commands == []


def test_a_function_beside_that_a_run_left_goes_first_and_a_role_that_is_new_is_waited_for(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 0)
    monkeypatch.setattr(functions, "configuration", lambda _: {"Role": "arn:aws:iam::1:role/worker"})
    monkeypatch.setattr(Zappa, "settings", lambda _: {"dev-worker": {}})
    name = {"FunctionName": "vibecode-dev-next"}
    made = {
        **name,
        "Code": {"S3Bucket": f"vibecode-dev-packages-{NUMBER}", "S3Key": "releases/x.zip"},
        "LoggingConfig": {"LogGroup": "/aws/lambda/vibecode-dev-worker"},
        "Role": "arn:aws:iam::1:role/worker",
    }
    cloud = aws("lambda")
    cloud.add_client_error("delete_function", "ResourceConflictException", expected_params=name)  # Pending still
    cloud.add_response("delete_function", {}, name)
    cloud.add_client_error("create_function", "ResourceConflictException", expected_params=made)
    cloud.add_response("delete_function", {}, name)
    cloud.add_client_error(
        "create_function",
        "InvalidParameterValueException",
        "The role defined for the function cannot be assumed by Lambda.",
        expected_params=made,
    )
    cloud.add_client_error("delete_function", "ResourceNotFoundException", expected_params=name)
    cloud.add_response("create_function", {}, made)
    is_there(aws, "vibecode-dev-next", {"State": "Pending"}, {"State": "Active"})
    cloud.add_client_error("delete_function", "ResourceNotFoundException", expected_params=name)

    with Functions(aws.account, Turn()).beside("worker", "releases/x.zip") as beside:
        assert beside == "vibecode-dev-next"


def test_the_function_beside_of_whoever_deploys_now_is_not_deleted(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "configuration", lambda _: {"Role": "arn:aws:iam::1:role/worker"})
    monkeypatch.setattr(Zappa, "settings", lambda _: {"dev-worker": {}})
    ours = [True]
    aws("lambda").add_response("delete_function", {})
    aws("lambda").add_response("create_function", {})
    is_there(aws, "vibecode-dev-next", {"State": "Active"})

    with Functions(aws.account, Turn(lambda: ours[0])).beside("worker", "releases/x.zip"):
        ours[0] = False


def test_what_went_wrong_beside_is_said_and_not_that_lambda_could_not_delete_it_yet(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "configuration", lambda _: {"Role": "arn:aws:iam::1:role/worker"})
    monkeypatch.setattr(Zappa, "settings", lambda _: {"dev-worker": {}})
    cloud = aws("lambda")
    cloud.add_client_error("delete_function", "ResourceNotFoundException")
    cloud.add_response("create_function", {})
    is_there(aws, "vibecode-dev-next", {"State": "Pending"})
    cloud.add_client_error("delete_function", "ResourceConflictException")

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt), Functions(aws.account, Turn()).beside("worker", "releases/x.zip"):
        pytest.fail("it is Pending still")


def test_a_function_that_somebody_else_has_given_another_package_is_noticed(aws: Aws) -> None:
    mine, theirs = (base64.b64encode(hashlib.sha256(each).digest()).decode() for each in (b"mine", b"theirs"))
    for name, digest in (("vibecode-dev", mine), ("vibecode-dev-worker", theirs)):
        aws("lambda").add_response("get_function_configuration", {"CodeSha256": digest}, {"FunctionName": name})

    with pytest.raises(WentWrong, match="vibecode-dev-worker has another package than this release"):
        Functions(aws.account, Turn()).check_code(hashlib.sha256(b"mine").hexdigest())
