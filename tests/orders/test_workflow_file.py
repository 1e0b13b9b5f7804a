"""The workflow's file says what the contract says, and its picture is drawn from it."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils.module_loading import import_string

from orders.management.commands.draw_workflow import WORKFLOW
from vibecode.local.folder import REPOSITORY
from vibecode.resources import FUNCTION_TIMEOUT, STEPS

MACHINE: dict[str, Any] = json.loads(WORKFLOW.read_text())
STATES: dict[str, Any] = MACHINE["States"]
BRANCHES: dict[str, Any] = {
    name: state for branch in STATES["UpdateInventory"]["Branches"] for name, state in branch["States"].items()
}
TASKS = {name: state for name, state in (STATES | BRANCHES).items() if state["Type"] == "Task"}


def test_the_states_follow_one_another_as_the_contract_says() -> None:
    assert MACHINE["StartAt"] == "ValidateOrder"
    assert STATES["ValidateOrder"]["Next"] == "ProcessPayment"
    assert STATES["ProcessPayment"]["Next"] == "UpdateInventory"
    assert STATES["UpdateInventory"]["Type"] == "Parallel"
    assert [branch["StartAt"] for branch in STATES["UpdateInventory"]["Branches"]] == [
        "DeductStock",
        "SendNotification",
    ]
    assert STATES["UpdateInventory"]["Next"] == "OrderComplete"
    assert STATES["OrderComplete"]["End"] is True
    assert STATES["CancelOrder"]["Next"] == "OrderFailed"
    assert STATES["OrderFailed"]["Type"] == "Fail"


@pytest.mark.parametrize("name", ["ValidateOrder", "ProcessPayment", "UpdateInventory", "OrderComplete"])
def test_an_error_that_retries_did_not_mend_is_compensated(name: str) -> None:
    last = STATES[name]["Catch"][-1]

    assert (last["ErrorEquals"], last["Next"]) == (["States.ALL"], "CancelOrder")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_retries_what_passes_by_itself(name: str) -> None:
    passing = dict(TASKS[name]["Retry"][-1])

    assert set(passing.pop("ErrorEquals")) == {
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
        "DatabaseAway",
    }
    assert passing == {"IntervalSeconds": 2, "MaxAttempts": 6, "BackoffRate": 2, "JitterStrategy": "FULL"}


def test_a_payment_that_fails_is_tried_three_times_more() -> None:
    assert STATES["ProcessPayment"]["Retry"][0] == {
        "ErrorEquals": ["PaymentError"],
        "IntervalSeconds": 2,
        "MaxAttempts": 3,
        "BackoffRate": 2,
    }


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_calls_a_step_that_exists_and_is_allowed(name: str) -> None:
    payload = TASKS[name]["Parameters"]["Payload"]

    assert TASKS[name]["Parameters"]["FunctionName"] == "${WorkerArn}"
    assert payload["command"] in STEPS
    assert callable(import_string(payload["command"]))
    assert payload["orderId.$"] == "$.orderId"


def test_every_step_that_is_allowed_is_in_the_file() -> None:
    assert {state["Parameters"]["Payload"]["command"] for state in TASKS.values()} == set(STEPS)


def test_the_timeouts_fit_into_one_another(settings: Any) -> None:
    waiting = TASKS["AwaitCustomer"]["TimeoutSeconds"]
    working = {state["TimeoutSeconds"] for name, state in TASKS.items() if name != "AwaitCustomer"}

    assert settings.PAYMENT_TIMEOUT_SECONDS == 8
    assert working == {25}
    assert settings.PAYMENT_TIMEOUT_SECONDS < 25 < FUNCTION_TIMEOUT < waiting < MACHINE["TimeoutSeconds"] == 600


def test_no_notification_cancels_an_order() -> None:
    caught = BRANCHES["SendNotification"]["Catch"]

    assert [(catch["ErrorEquals"], catch["Next"]) for catch in caught] == [(["States.ALL"], "NotificationFailed")]
    assert BRANCHES["NotificationFailed"]["End"] is True


def test_a_cancellation_that_fails_is_told_to_a_person() -> None:
    assert [catch["Next"] for catch in STATES["CancelOrder"]["Catch"]] == ["FailOrder"]
    assert STATES["FailOrder"]["Next"] == "OrderFailed"


BREAKS: dict[str, tuple[str, str, Any]] = {
    "an unknown type": ("CancelOrder", "Type", "Errand"),
    "a time that is none": ("ProcessPayment", "TimeoutSeconds", "soon"),
    "a retry that is no list": ("OrderComplete", "Retry", {}),
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What cfn-lint, which knows the States Language, says of our machine and of broken ones: the rules, by machine."""
    machines = {"ours": MACHINE}
    for name, (state, member, value) in BREAKS.items():
        machines[name] = json.loads(json.dumps(MACHINE))
        machines[name]["States"][state][member] = value
    folder = tmp_path_factory.mktemp("machines")
    for name, machine in machines.items():
        definition = {"RoleArn": "arn:aws:iam::123456789012:role/orders", "Definition": machine}
        resource = {"Type": "AWS::StepFunctions::StateMachine", "Properties": definition}
        (folder / f"{name}.json").write_text(json.dumps({"Resources": {"Orders": resource}}))
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--regions", "eu-north-1", "--format", "json", "--"]
    said = subprocess.run([*command, *map(str, folder.iterdir())], capture_output=True, text=True, check=False)
    found: dict[str, list[str]] = {name: [] for name in machines}
    for complaint in json.loads(said.stdout):
        found[Path(complaint["Filename"]).stem].append(complaint["Rule"]["Id"])
    return found


def test_a_linter_of_the_states_language_finds_nothing(complaints: dict[str, list[str]]) -> None:
    assert complaints["ours"] == []


@pytest.mark.parametrize("broken", BREAKS)
def test_that_linter_finds_what_is_broken(complaints: dict[str, list[str]], broken: str) -> None:
    assert "E3601" in complaints[broken]


def ways(machine: dict[str, Any]) -> dict[str, set[str]]:
    """From each state of a machine or branch, the states that may follow."""
    return {
        name: {state["Next"] for state in (state, *state.get("Catch", ())) if "Next" in state}
        for name, state in machine["States"].items()
    }


@pytest.mark.parametrize("machine", [MACHINE, *STATES["UpdateInventory"]["Branches"]], ids=["whole", "stock", "news"])
def test_every_state_is_reached_and_leads_somewhere(machine: dict[str, Any]) -> None:
    found, young = set(), {machine["StartAt"]}
    while young:
        found |= young
        young = set().union(*(ways(machine)[name] for name in young)) - found

    assert found == set(machine["States"])


def test_the_picture_in_the_docs_is_the_one_drawn_from_the_file() -> None:
    drawn = io.StringIO()
    call_command("draw_workflow", stdout=drawn)

    assert f"```mermaid\n{drawn.getvalue()}```" in (REPOSITORY / "docs" / "workflow.md").read_text()
