"""The websocket's memory: tickets and connections in DynamoDB, and pushes whose versions never go back.

Called by accounts (tickets and the API's three routes), by orders (push_to_user) and by a schedule (close_expired).
Nothing here touches the database. Longer than most modules: a push and what it may find stand beside the one table.
"""

import contextlib
import hashlib
import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

import structlog
from django.conf import settings

from vibecode import aws
from vibecode.errors import Away

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

log = structlog.stdlib.get_logger("vibecode.websockets")

TICKET_SECONDS = 60
# API Gateway ends every connection after two hours.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
CONNECTION_SECONDS = 2 * 3600
OPENING_SECONDS = 3  # a connection is remembered before its handshake ends: until then API Gateway calls it gone
POST_SECONDS, POST_TRIES = 1.5, 2
# Longer than a post takes at most (connecting and waiting, twice, a second between): nobody overtakes one under way.
LEASE_SECONDS = 8
PATIENCE_SECONDS = 10  # then the queue brings the message back
NO_CONNECTION = "-"  # a ticket's connectionId


class WebsocketAway(Away):
    """DynamoDB, which keeps the tickets, does not answer."""

    code = "websocket-away"
    title = "The websocket is not available right now"


class NotPushed(Exception):
    """Some connections did not take the message. Pushing it again reaches those, and no other twice."""


# --- tickets: one use, one minute ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Session:
    """Whom a ticket lets in, and when the access token behind it ends (epoch seconds)."""

    user_id: str
    ends: int


def issue_ticket(*, user_id: str, session_ends: int) -> str:
    """A secret that opens one connection of the user within TICKET_SECONDS. Only its digest is kept.

    ``session_ends`` is the ``exp`` of the token that asked, in epoch seconds. Raises WebsocketAway.
    """
    ticket = secrets.token_urlsafe(32)
    try:
        aws.client("dynamodb").put_item(
            TableName=settings.RESOURCES.connections_table,
            Item={
                **_ticket_key(ticket),
                "sub": {"S": user_id},
                "sessionEnds": _number(session_ends),
                "expiresAt": _number(int(time.time()) + TICKET_SECONDS),
            },
        )
    except aws.service_errors() as error:
        log.error("DynamoDB keeps no ticket", error=str(error))
        raise WebsocketAway("No ticket can be issued; try again shortly.") from None
    return ticket


def redeem_ticket(ticket: str) -> Session | None:
    """The session behind a ticket, for the first who asks; None for one that is used, too old or none of ours."""
    dynamodb = aws.client("dynamodb")
    try:
        answer = dynamodb.delete_item(
            TableName=settings.RESOURCES.connections_table,
            Key=_ticket_key(ticket),
            ConditionExpression="expiresAt > :now AND sessionEnds > :now",
            ExpressionAttributeValues={":now": _number(time.time())},
            ReturnValues="ALL_OLD",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return None
    return Session(answer["Attributes"]["sub"]["S"], int(answer["Attributes"]["sessionEnds"]["N"]))


def _ticket_key(ticket: str) -> "dict[str, AttributeValueTypeDef]":
    return _key(f"TICKET#{hashlib.sha256(ticket.encode()).hexdigest()}", NO_CONNECTION)


# --- connections -----------------------------------------------------------------------------------------------------
def remember_connection(*, user_id: str, connection_id: str, session_ends: int) -> None:
    """Push to this connection from now on, until the session ends (epoch seconds) or API Gateway ends it."""
    now = time.time()
    aws.client("dynamodb").put_item(
        TableName=settings.RESOURCES.connections_table,
        Item={
            **_key(user_id, connection_id),
            "openedAt": _number(now),
            "expiresAt": _number(min(session_ends, int(now) + CONNECTION_SECONDS)),
            # The newest version of each subject that was surely pushed, and that somebody began to push.
            "seen": {"M": {}},
            "begun": {"M": {}},
        },
    )


def forget_connection(*, connection_id: str) -> None:
    """Push to this connection no more. Harmless for one that is not known."""
    found = aws.client("dynamodb").query(
        TableName=settings.RESOURCES.connections_table,
        IndexName="by_connection",
        KeyConditionExpression="connectionId = :connection",
        ExpressionAttributeValues={":connection": {"S": connection_id}},
    )
    for row in found["Items"]:
        _forget(row["userId"]["S"], connection_id)


def close_expired() -> None:
    """Close and forget the connections whose session has ended, and forget old tickets. The schedule's; may repeat.

    DynamoDB's own TTL comes days late and closes nothing.
    """
    if not settings.WEBSOCKET_API_URL:
        return
    pages = aws.client("dynamodb").get_paginator("scan").paginate(
        TableName=settings.RESOURCES.connections_table,
        FilterExpression="expiresAt <= :now",
        ProjectionExpression="userId, connectionId",
        ExpressionAttributeValues={":now": _number(time.time())},
    )  # fmt: skip
    for page in pages:
        for row in page["Items"]:
            user_id, connection_id = row["userId"]["S"], row["connectionId"]["S"]
            if connection_id == NO_CONNECTION or _close(connection_id):
                _forget(user_id, connection_id)


def _close(connection_id: str) -> bool:
    gateway = aws.client("apigatewaymanagementapi", seconds=POST_SECONDS, tries=POST_TRIES)
    try:
        gateway.delete_connection(ConnectionId=connection_id)
    except gateway.exceptions.GoneException:
        pass
    except aws.service_errors() as error:
        log.warning("an expired connection stays open until the next run", error=str(error))
        return False
    return True


def _forget(user_id: str, connection_id: str) -> None:
    aws.client("dynamodb").delete_item(TableName=settings.RESOURCES.connections_table, Key=_key(user_id, connection_id))


# --- pushes ----------------------------------------------------------------------------------------------------------
def push_to_user(*, user_id: str, subject: str, version: int, message: Mapping[str, Any]) -> int:
    """Send a message to every open connection of one user. Returns to how many it went.

    A connection that has had this or a newer ``version`` of the ``subject`` (an order's number) is left out, also
    while others push the same subject; one that opens meanwhile, in the place of one that is gone, is served too.
    Raises NotPushed when a connection could not be reached, and what DynamoDB raises: then the caller's queue brings
    the message back.
    """
    if not settings.WEBSOCKET_API_URL:
        return 0
    data = json.dumps(message, separators=(",", ":")).encode()
    pushed, failures, tried = 0, list[str](), set[str]()
    mendable: tuple[type[Exception], ...] = (NotPushed, *aws.service_errors())
    while fresh := [connection for connection in _open_connections(user_id) if connection.id not in tried]:
        for connection in fresh:
            tried.add(connection.id)
            try:
                pushed += connection.push(subject, version, data)
            except mendable as error:
                failures.append(str(error))
    if failures:
        raise NotPushed(f"Version {version} of {subject} is still to be pushed: {'; '.join(failures)}")
    return pushed


class _Turn(Enum):
    """What asking for a connection's lease comes to."""

    OURS = auto()
    NOT_NEEDED = auto()  # seen already, or the connection has ended
    LATER = auto()  # somebody else's push is under way


@dataclass(frozen=True, slots=True)
class _Connection:
    """One open connection: a pusher at a time, by a lease in its row that ends by itself should the pusher die."""

    user_id: str
    id: str
    opened_at: float
    lease: str  # names this pusher

    def push(self, subject: str, version: int, data: bytes) -> bool:
        """Post in turn. False where there was no need; raises NotPushed when our turn does not come."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        pause = 0.02
        while time.monotonic() < give_up:
            turn = self._take_turn(subject, version)
            if turn is _Turn.NOT_NEEDED:
                return False
            if turn is _Turn.OURS:
                if self._post(data):
                    self._end_turn(subject, version)  # only now: who dies before it posts again, and nothing is lost
                    return True
                if abs(time.time() - self.opened_at) > OPENING_SECONDS:
                    _forget(self.user_id, self.id)
                    return False
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- jitter is no secret
            pause = min(2 * pause, 0.5)
        raise NotPushed("another push holds the connection")

    def _take_turn(self, subject: str, version: int) -> _Turn:
        dynamodb = aws.client("dynamodb")
        now = time.time()
        try:
            dynamodb.update_item(
                TableName=settings.RESOURCES.connections_table,
                Key=_key(self.user_id, self.id),
                # Who dies after the post has not said that it was seen: no older version may follow, and it comes back.
                UpdateExpression="SET lease = :me, leaseEnds = :ends, begun.#subject = :version",
                # A lease that ends in the far future is of a clock that has jumped back since; one of ours is there
                # when boto3 asks again because the answer was lost.
                ConditionExpression=(
                    "expiresAt > :now"
                    " AND (attribute_not_exists(seen.#subject) OR seen.#subject < :version)"
                    " AND (attribute_not_exists(begun.#subject) OR begun.#subject <= :version)"
                    " AND (attribute_not_exists(lease) OR lease = :me OR NOT (leaseEnds BETWEEN :now AND :far))"
                ),
                ExpressionAttributeNames={"#subject": subject},
                ExpressionAttributeValues={
                    ":me": {"S": self.lease},
                    ":now": _number(now),
                    ":ends": _number(now + LEASE_SECONDS),
                    ":far": _number(now + 2 * LEASE_SECONDS),
                    ":version": _number(version),
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except dynamodb.exceptions.ConditionalCheckFailedException as error:
            row = cast("dict[str, Any]", error.response).get("Item")
            if row is None or float(row["expiresAt"]["N"]) <= now:
                return _Turn.NOT_NEEDED
            seen, begun = (int(row[name]["M"].get(subject, {"N": "0"})["N"]) for name in ("seen", "begun"))
            return _Turn.NOT_NEEDED if seen >= version or begun > version else _Turn.LATER
        return _Turn.OURS

    def _post(self, data: bytes) -> bool:
        """Whether there is such a connection. Raises what else API Gateway says, and frees the lease for the next try.

        But not after a time-out, when the post may be under way: then the lease ends by itself.
        """
        gateway = aws.client("apigatewaymanagementapi", seconds=POST_SECONDS, tries=POST_TRIES)
        try:
            gateway.post_to_connection(ConnectionId=self.id, Data=data)
        except gateway.exceptions.GoneException:
            return False
        except aws.service_errors() as error:
            if aws.was_refused(error):
                self._free()
            raise
        return True

    def _end_turn(self, subject: str, version: int) -> None:
        dynamodb = aws.client("dynamodb")
        try:
            dynamodb.update_item(
                TableName=settings.RESOURCES.connections_table,
                Key=_key(self.user_id, self.id),
                UpdateExpression="SET seen.#subject = :version REMOVE lease, leaseEnds",
                ConditionExpression="lease = :me",
                ExpressionAttributeNames={"#subject": subject},
                ExpressionAttributeValues={":me": {"S": self.lease}, ":version": _number(version)},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            log.info("the connection ended while it was pushed to", connection=self.id)

    def _free(self) -> None:
        """Give the lease back after a push that did not happen."""
        dynamodb = aws.client("dynamodb")
        with contextlib.suppress(dynamodb.exceptions.ConditionalCheckFailedException):  # the connection has ended
            dynamodb.update_item(
                TableName=settings.RESOURCES.connections_table,
                Key=_key(self.user_id, self.id),
                UpdateExpression="REMOVE lease, leaseEnds",
                ConditionExpression="lease = :me",
                ExpressionAttributeValues={":me": {"S": self.lease}},
            )


def _open_connections(user_id: str) -> Iterator[_Connection]:
    pages = aws.client("dynamodb").get_paginator("query").paginate(
        TableName=settings.RESOURCES.connections_table,
        KeyConditionExpression="userId = :user",
        FilterExpression="expiresAt > :now",
        ProjectionExpression="connectionId, openedAt",
        ExpressionAttributeValues={":user": {"S": user_id}, ":now": _number(time.time())},
        ConsistentRead=True,  # one opened a moment ago is there
    )  # fmt: skip
    for page in pages:
        for row in page["Items"]:
            yield _Connection(user_id, row["connectionId"]["S"], float(row["openedAt"]["N"]), secrets.token_hex(8))


def _key(user_id: str, connection_id: str) -> "dict[str, AttributeValueTypeDef]":
    return {"userId": {"S": user_id}, "connectionId": {"S": connection_id}}


def _number(value: float) -> "AttributeValueTypeDef":
    return {"N": str(round(value, 3))}
