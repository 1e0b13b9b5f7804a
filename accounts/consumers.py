"""The account's doors on Lambda: the websocket API's routes and Cognito's triggers. Called by the Lambda entry."""

from typing import Any

import structlog
from django.db import DatabaseError

from accounts.services import register_user
from vibecode.websockets import forget_connection, redeem_ticket, remember_connection

log = structlog.stdlib.get_logger("accounts.consumers")

type LambdaEvent = dict[str, Any]
type Answer = dict[str, int]


def on_connect(event: LambdaEvent, context: object) -> Answer:  # noqa: ARG001 -- Lambda's signature
    """$connect: let in who brings a fresh ticket; for all others API Gateway refuses the handshake with our 401."""
    session = redeem_ticket((event.get("queryStringParameters") or {}).get("token", ""))
    if session is None:
        return {"statusCode": 401}
    connection_id = event["requestContext"]["connectionId"]
    remember_connection(user_id=session.user_id, connection_id=connection_id, session_ends=session.ends)
    return {"statusCode": 200}


def on_disconnect(event: LambdaEvent, context: object) -> Answer:  # noqa: ARG001 -- Lambda's signature
    """$disconnect: API Gateway tells it where it can; a push to a connection that is gone tells the rest."""
    forget_connection(connection_id=event["requestContext"]["connectionId"])
    return {"statusCode": 200}


def on_message(event: LambdaEvent, context: object) -> Answer:  # noqa: ARG001 -- Lambda's signature
    """$default: customers have nothing to tell us here, but a word now and then keeps their connection open."""
    return {"statusCode": 200}


def on_sign_up_confirmed(event: LambdaEvent, context: object) -> LambdaEvent:  # noqa: ARG001 -- Lambda's signature
    """Cognito's PostConfirmation: the user exists before their first request."""
    attributes = event["request"]["userAttributes"]
    email = attributes.get("email", "")[:254] if attributes.get("email_verified") == "true" else ""
    try:
        register_user(sub=attributes["sub"], email=email, name=attributes.get("name", ""))
    except DatabaseError as error:
        # Cognito has confirmed them already and would tell them that it failed. Their first request makes the user.
        log.error("a new user waits for their first request", error=str(error))
    return event


def on_password_changed(event: LambdaEvent, context: object) -> LambdaEvent:  # noqa: ARG001 -- Lambda's signature
    """Cognito's PostConfirmation once more, for who has forgotten their password: we have nothing to add."""
    return event
