"""An order's executions: begun once, one at a time, woken when its customer has answered. On real state machines."""

import dataclasses
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.conf import settings as django_settings
from django.db import connections
from pytest_django import Settings

from orders import services, workflow
from orders.models import Order, Payment
from orders.payments import provider
from orders.services import PaymentRequiresAction
from orders.status import PaymentState
from tests.books import Books
from tests.in_process import Caller
from tests.orders.test_payment_news import SECRET, paid, tell
from tests.over_http import Shop, together
from vibecode import aws
from vibecode.executions import answer_task, execution_status, start_execution
from vibecode.local import ports
from vibecode.rights import Actor

type Placed = Callable[..., Order]
type Machine = Callable[[dict[str, Any]], None]

ENDS = {"Type": "Succeed"}
RUNS = {"Type": "Wait", "Seconds": 600, "End": True}
AWAITS = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "End": True}


@pytest.fixture
def machine(settings: Settings) -> Machine:
    """Put a state machine of one state where the order workflow stands; once more, and it is another one."""
    settings.RESOURCES = dataclasses.replace(settings.RESOURCES, stage=f"test-{uuid.uuid4().hex[:8]}")
    steps = aws.client("stepfunctions")
    arn = settings.RESOURCES.state_machine_arn

    def put(state: dict[str, Any]) -> None:
        definition = json.dumps({"StartAt": "Only", "States": {"Only": state}})
        if any(known["stateMachineArn"] == arn for known in steps.list_state_machines()["stateMachines"]):
            steps.update_state_machine(stateMachineArn=arn, definition=definition)
        else:
            role = "arn:aws:iam::123456789012:role/orders"
            steps.create_state_machine(name=settings.RESOURCES.state_machine, definition=definition, roleArn=role)

    return put


def executions() -> list[str]:
    """The names of all executions that were ever begun."""
    arn = django_settings.RESOURCES.state_machine_arn
    found = aws.client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    return sorted(execution["name"] for execution in found)


def wait_for(name: str, status: str) -> None:
    """Until an execution is in this state, for ten seconds."""
    deadline = time.monotonic() + 10
    while execution_status(name) != status:
        assert time.monotonic() < deadline, f"{name} is {execution_status(name)}"
        time.sleep(0.02)


# --- one at a time ---------------------------------------------------------------------------------------------------
def test_an_order_is_continued_under_its_own_name_first_and_never_beside_a_running_execution(
    placed: Placed, machine: Machine
) -> None:
    machine(RUNS)
    order = placed()

    assert [services.continue_order(order=order) for _ in range(3)] == ["begun", "running", "running"]

    assert executions() == [order.number]


def test_after_an_execution_that_ended_the_next_one_is_begun(placed: Placed, machine: Machine) -> None:
    machine(ENDS)
    order = placed()
    services.start_order(order=order)
    wait_for(order.number, "SUCCEEDED")
    machine(RUNS)

    assert services.continue_order(order=order) == "begun"
    assert services.continue_order(order=order) == "running"

    assert executions() == [order.number, f"{order.number}-2"]


def test_an_order_that_is_over_is_not_begun_again(placed: Placed, machine: Machine) -> None:
    machine(RUNS)
    order = placed()
    services.cancel_order(order=order, reason="", actor=Actor.part("me"))

    assert services.continue_order(order=order) == "over"
    assert executions() == []


def test_eight_who_find_an_order_lost_at_one_moment_begin_one_execution(
    shop: Shop, books: Books, machine: Machine
) -> None:
    machine(ENDS)
    order = Order.objects.get(number=shop.buyer().order((shop.product(on_hand=5), 1)).json()["orderId"])
    services.start_order(order=order)
    wait_for(order.number, "SUCCEEDED")
    machine(RUNS)

    def go_on() -> None:
        try:
            services.continue_order(order=order)
        finally:
            connections.close_all()

    together([go_on] * 8)

    order.refresh_from_db()
    assert order.workflow_runs == 2
    assert executions() == [order.number, f"{order.number}-2"]


def test_a_name_that_was_begun_with_something_else_is_refused_and_no_error(db: None, machine: Machine) -> None:
    machine(RUNS)
    assert start_execution(name="ORD-1", data={"orderId": "ORD-1"})

    assert not start_execution(name="ORD-1", data={"orderId": "ORD-2"})


# --- waiting for the customer ----------------------------------------------------------------------------------------
@pytest.fixture
def asked(placed: Placed) -> Order:
    """An order whose bank asks its customer something."""
    order = placed("demo_action")
    with pytest.raises(PaymentRequiresAction):
        workflow.process_payment({"orderId": order.number}, None)
    return order


def begin_waiting(order: Order, machine: Machine) -> str:
    """An execution of the order that waits for its customer, and its task token."""
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=f"tokens-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    machine(AWAITS | {"Parameters": {"QueueUrl": url, "MessageBody": {"token.$": "$$.Task.Token"}}})
    services.start_order(order=order)
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
    return str(json.loads(message["Body"])["token"])


def confirm(order: Order, books: Books) -> None:
    """What the customer says to the bank."""
    assert httpx.post(f"{books.url}/charges/{order.number}/confirm", json={}, trust_env=False).status_code == 200


def test_an_execution_waits_until_the_customer_has_answered_and_its_token_is_used_once(
    asked: Order, machine: Machine
) -> None:
    token = begin_waiting(asked, machine)

    workflow.await_customer({"orderId": asked.number, "taskToken": token}, None)
    assert execution_status(asked.number) == "RUNNING"
    assert Payment.objects.get(order=asked).task_token == token

    services.customer_answered(order=asked)
    wait_for(asked.number, "SUCCEEDED")
    assert Payment.objects.get(order=asked).task_token == ""
    assert executions() == [asked.number]


def test_the_news_of_the_provider_wake_the_execution_that_waits(
    asked: Order, machine: Machine, stranger: Caller, settings: Settings
) -> None:
    settings.STRIPE_WEBHOOK_SECRET = SECRET
    token = begin_waiting(asked, machine)
    workflow.await_customer({"orderId": asked.number, "taskToken": token}, None)

    answer = tell(stranger, "payment_intent.succeeded", paid(asked))

    assert answer.status_code == 200
    wait_for(asked.number, "SUCCEEDED")
    assert Payment.objects.get(order=asked).task_token == ""


def test_an_answer_that_came_before_the_token_is_not_waited_for(asked: Order, books: Books, machine: Machine) -> None:
    token = begin_waiting(asked, machine)
    confirm(asked, books)
    workflow.process_payment({"orderId": asked.number}, None)

    workflow.await_customer({"orderId": asked.number, "taskToken": token}, None)

    wait_for(asked.number, "SUCCEEDED")


def test_a_token_that_comes_when_the_time_for_the_bank_is_over_is_answered_at_once(
    asked: Order, machine: Machine
) -> None:
    token = begin_waiting(asked, machine)
    services.time_for_the_bank_over(order=asked)  # the message of the queue, before the token was kept

    services.await_customer(order=asked, token=token)

    wait_for(asked.number, "SUCCEEDED")


def test_the_token_of_a_later_execution_outlives_the_answer_to_an_earlier_one(
    asked: Order, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.await_customer(order=asked, token=begin_waiting(asked, machine))

    def overtaken(**named: Any) -> bool:
        services.await_customer(order=asked, token="the next")
        return answer_task(**named)

    monkeypatch.setattr("orders.services.running.answer_task", overtaken)
    services.customer_answered(order=asked)

    assert Payment.objects.get(order=asked).task_token == "the next"


# --- the sweep -------------------------------------------------------------------------------------------------------
def test_the_sweep_finds_an_answer_of_the_customer_whose_news_was_lost(
    asked: Order, books: Books, machine: Machine, settings: Settings
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    machine(RUNS)
    confirm(asked, books)

    assert services.sweep_orders() == {"woken": 1}

    assert Payment.objects.get(order=asked).state == PaymentState.CAPTURED
    assert executions() == [asked.number]


def test_the_sweep_wakes_an_execution_that_was_not_told_because_somebody_died_after_writing_the_answer_down(
    asked: Order, books: Books, machine: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    services.await_customer(order=asked, token=begin_waiting(asked, machine))
    confirm(asked, books)
    with monkeypatch.context() as patch:
        patch.setattr("orders.services.running.answer_task", die)
        assert services.sweep_orders() == {"left for the next sweep": 1}
    assert Payment.objects.get(order=asked).state == PaymentState.CAPTURED

    assert services.sweep_orders() == {"woken": 1}

    wait_for(asked.number, "SUCCEEDED")


def die(**_: object) -> bool:
    """The process ends here."""
    raise ConnectionError


@pytest.fixture
def in_vain(placed: Placed, machine: Machine, settings: Settings) -> Order:
    """A paid order whose last execution has ended without it."""
    settings.ORDER_STUCK_SECONDS, settings.ORDER_MOST_RUNS = 0, 1
    machine(ENDS)
    order = placed()
    workflow.process_payment({"orderId": order.number}, None)
    services.start_order(order=order)
    wait_for(order.number, "SUCCEEDED")
    return order


def test_the_sweep_cancels_an_order_whose_last_execution_was_in_vain(in_vain: Order, books: Books) -> None:
    assert services.sweep_orders() == {"cancelled": 1}

    in_vain.refresh_from_db()
    assert (in_vain.status, in_vain.cancel_reason) == ("cancelled", "workflow-gave-up")
    assert books.of(in_vain.number)["refunded"] == ["5.00"]
    assert executions() == [in_vain.number]


def test_the_sweep_fails_an_order_whose_money_cannot_be_given_back(in_vain: Order, books: Books) -> None:
    books.give_back(in_vain.number, "5.00")  # at its own desk: it refuses to do so again

    assert services.sweep_orders() == {"failed": 1}

    assert Order.objects.get(pk=in_vain.pk).status == "failed"


def test_whatever_one_order_s_trouble_is_the_sweep_goes_on_to_the_next(
    placed: Placed, machine: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    machine(RUNS)
    cursed, other = placed(), placed()
    look = services.paying.payment_of

    def breaks(order: Order) -> Payment | None:
        if order.pk == cursed.pk:
            raise LookupError("a row that nobody thought of")
        return look(order)

    monkeypatch.setattr("orders.services.running.payment_of", breaks)

    assert services.sweep_orders() == {"left for the next sweep": 1, "begun": 1}
    assert executions() == [other.number]


def test_one_order_s_trouble_does_not_keep_the_sweep_from_the_next(
    asked: Order, placed: Placed, machine: Machine, settings: Settings
) -> None:
    settings.ORDER_STUCK_SECONDS = 0
    machine(RUNS)
    other = placed()
    settings.DEMO_PAYMENTS_URL = f"http://127.0.0.1:{ports.free_port()}"  # nobody is there
    provider.cache_clear()

    assert services.sweep_orders() == {"left for the next sweep": 1, "begun": 1}

    assert executions() == [other.number]
