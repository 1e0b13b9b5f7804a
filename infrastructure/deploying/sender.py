"""The domain that a stage mails from: Cognito makes no pool that mails from one which SES has not verified."""

import time
from collections.abc import Callable

from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.waiting import Turn

WAITED = 1800  # seconds: SES mostly finds the records of a zone within minutes
SAID = 60  # seconds between two lines on it


def wait_for_sender(account: Account, turn: Turn, report: Callable[[str], object]) -> str:
    """Wait until SES has verified the stage's domain, by the records that the stack `messaging` has made.

    Raises Refused where it does not, and Lost. SES looks for 72 hours:
    https://docs.aws.amazon.com/ses/latest/dg/creating-identities.html
    """
    domain, began, said = account.stage.domain, time.monotonic(), 0
    while True:
        about = account.client("sesv2").get_email_identity(EmailIdentity=domain)
        if about["VerifiedForSendingStatus"]:
            return f"{domain} is verified"
        status, waited = about.get("VerificationStatus", "PENDING"), time.monotonic() - began
        if status == "FAILED" or waited >= WAITED:
            raise Refused(
                f"SES has not verified {domain} ({status}, after {waited / 60:.0f} min), and until then Cognito makes "
                f"no pool that mails from it. Is its zone {account.stage.hosted_zone} the one that its name servers "
                f"answer from (dig +short NS {domain})? Mend it there, and run it again."
            )
        if waited >= said * SAID:
            report(f"SES looks for the records of {domain}: {status}" + (f", {waited:.0f} s" if said else ""))
            said += 1
        turn.wait()
