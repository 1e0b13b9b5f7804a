"""SES of the local AWS: every mail is kept and can be read, and its outcome comes back as an event. Used by aws.py."""

import base64
import email
import email.policy
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from html import escape
from typing import Any

from moto.events.models import EventsBackend
from moto.sesv2.responses import SESV2Response

from vibecode.local.aws_memory import Memory
from vibecode.local.mend import mend
from vibecode.local.page import page
from vibecode.resources import Resources

SHORTLY = 0.2  # seconds between a mail's acceptance and its outcome
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
NOTHING_FETCHED = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
TELL_AGAIN = 3600  # seconds: outcomes so young are told anew after a restart, as the queues forgot them


class Mailbox:
    """The mails that SES accepted, in the Memory."""

    def __init__(self, memory: Memory, bus: EventsBackend, resources: Resources) -> None:
        self._memory = memory
        self._bus = bus
        self._resources = resources
        self._listen()

    def tell_again(self) -> None:
        """Emit the outcomes of the last hour once more."""
        for mail in self._memory.mails(since=time.time() - TELL_AGAIN):
            self._tell(mail)

    def _listen(self) -> None:
        send: Callable[[SESV2Response], str] = SESV2Response.send_email

        def send_and_keep(response: SESV2Response) -> str:
            answer = send(response)
            mail = _read(json.loads(response.body), json.loads(answer)["MessageId"])
            self._memory.save_mail(mail["messageId"], mail["at"], mail)
            soon = threading.Timer(SHORTLY, self._tell, [mail])
            soon.daemon = True
            soon.start()
            return answer

        mend(SESV2Response, "send_email", send_and_keep)

    def _tell(self, mail: dict[str, Any]) -> None:
        """As a configuration set with EventBridge for destination does; a mail without one has no outcome.

        https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-eventbridge-examples.html
        """
        if mail["configurationSet"] != self._resources.mail_configuration:
            return
        told = {
            "timestamp": datetime.fromtimestamp(mail["at"], UTC).isoformat(timespec="milliseconds"),
            "source": mail["from"],
            "sendingAccountId": self._resources.account,
            "messageId": mail["messageId"],
            "destination": mail["to"],
            "headersTruncated": False,
            "commonHeaders": {"from": [mail["from"]], "to": mail["to"], "subject": mail["subject"]},
            "tags": mail["tags"] | {"ses:configuration-set": [mail["configurationSet"]]},
        }
        entry = {
            "Source": "aws.ses",
            "DetailType": "Email Sent",
            "Detail": json.dumps({"eventType": "Send", "mail": told, "send": {}}),
        }
        self._bus.put_events([entry])


def mails_page(mails: list[dict[str, Any]]) -> str:
    """What was sent, for eyes: newest first, each as its reader sees it. Nothing in a mail is run or fetched."""
    items = (
        f"<details><summary>{escape(mail['subject'])}<small>{escape(', '.join(mail['to']))},"
        f" {datetime.fromtimestamp(mail['at'], UTC):%Y-%m-%d %H:%M:%S} UTC</small></summary>"
        f'<iframe sandbox loading="lazy" title="{escape(mail["subject"])}" srcdoc="{escape(_shown(mail))}"></iframe>'
        "</details>"
        for mail in reversed(mails)
    )
    return page(f"Mailbox ({len(mails)})", "".join(items) or "<p>Nobody was written to yet.")


def _shown(mail: dict[str, Any]) -> str:
    return NOTHING_FETCHED + (mail["html"] or f"<pre>{escape(mail['text'])}</pre>")


def _read(call: dict[str, Any], message_id: str) -> dict[str, Any]:
    """What a call of SendEmail sent, for people and for the outcome."""
    content, destination = call["Content"], call.get("Destination", {})
    tags: dict[str, list[str]] = {}
    for tag in call.get("EmailTags", []):
        tags.setdefault(tag["Name"], []).append(tag["Value"])
    mail = {
        "messageId": message_id,
        "at": time.time(),
        "from": call.get("FromEmailAddress", ""),
        "to": [address for kind in ("To", "Cc", "Bcc") for address in destination.get(f"{kind}Addresses", [])],
        "tags": tags,
        "configurationSet": call.get("ConfigurationSetName", ""),
    }
    if "Raw" not in content:
        body = content["Simple"]["Body"]
        texts = {name: body.get(part, {}).get("Data", "") for name, part in (("text", "Text"), ("html", "Html"))}
        return mail | {"subject": content["Simple"]["Subject"]["Data"]} | texts
    message = email.message_from_bytes(base64.b64decode(content["Raw"]["Data"]), policy=email.policy.default)
    assert isinstance(message, EmailMessage)  # noqa: S101 -- for the type checker: the policy makes it one
    mail["from"] = mail["from"] or str(message["From"])
    mail["to"] = mail["to"] or [str(message["To"])]
    return mail | {"subject": str(message["Subject"]), "text": _body(message, "plain"), "html": _body(message, "html")}


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part else ""
