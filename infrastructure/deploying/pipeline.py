"""`make pipeline REPOSITORY=owner/name`: the pipeline's stack, once an account, by the same change sets as the stages'.

After the first deploy of its stages, of which each has brought the limit of its roles, and one the bucket that the
template is read from. Ends as `make deploy` does: 0 done, 1 refused or failed, 130 interrupted.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from infrastructure.config import APPROVALS_TO, STAGES
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.assembly import Template, templates
from infrastructure.deploying.cloudformation import StackFailed
from infrastructure.deploying.say import Say, ask
from infrastructure.deploying.stacks import Stacks
from infrastructure.pipeline import STAGES as DEPLOYED
from vibecode.resources import PROJECT

WHAT = "pipeline"


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="infrastructure.deploying.pipeline", description=__doc__)
    parser.add_argument("--repository", default="", help="at GitHub, as owner/name; needed the first time")
    parser.add_argument("--branch", default="", help="what is pushed to it is released; main at first")
    parser.add_argument("--subject", default="", help="the repository as GitHub's tokens call it, where they have ids")
    parser.add_argument("--provider", default="", help="the ARN of GitHub's OIDC provider, where the account has one")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--may-lose", action="store_true", help="also what removes or replaces something")
    return parser.parse_args(words)


def run(arguments: argparse.Namespace, account: Account, say: Say) -> None:
    """Plan, ask, deploy, and say what is left for people. Raises Refused."""
    number, who = account.identity
    _check_stages(account, say)
    with tempfile.TemporaryDirectory(prefix="vibecode-pipeline-") as folder:
        template = _template(Path(folder))
    stacks = Stacks(account, {WHAT: template}, report=say.waiting)
    stacks.told |= parameters(arguments, stacks)
    changes = stacks.plan()[WHAT]
    say.line(f"{template.name} in {template.region}, account {number}, as {who}", "bold")
    for name, value in stacks.told.items():
        say.line(f"  {name}: {value}")
    say.line(f"  {changes}")
    say.changes(changes)
    if arguments.plan:
        return
    ask("Deploy it?", yes=arguments.yes, unagreed=bool(changes.lost) and not arguments.may_lose)
    say.step(f"stack {WHAT}", lambda: stacks.apply(WHAT, changes.lost))
    for left in still_to_do(account, template):
        say.line(f"Still to do: {left}", "yellow")


def _check_stages(account: Account, say: Say) -> None:
    """Raises Refused where one that is released from here was never deployed; one in another account people deploy."""
    for stage in (STAGES[name] for name in DEPLOYED):
        if stage.account in ("", account.number):
            if not account.of(stage).has_packages:
                raise Refused(f"{stage.name} is not there yet: an administrator deploys each stage once before.")
        elif stage.name == account.stage.name:
            raise Refused(f"You are in account {account.number}; {stage.name} belongs to {stage.account}.")
        else:
            say.line(f"{stage.name} belongs to account {stage.account}: people deploy it, no pipeline here.", "yellow")


def parameters(arguments: argparse.Namespace, stacks: Stacks) -> dict[str, str]:
    """What the stack is told: what was said now, else what it was told before. Raises Refused without a repository."""
    before = {name: stacks.parameter(WHAT, name) for name in ("Repository", "Branch", "Subject", "Provider")}
    repository = arguments.repository or before["Repository"]
    if not repository:
        raise Refused("Which repository is released? REPOSITORY=owner/name, once.")
    is_known = repository == before["Repository"]
    told = {
        "Repository": repository,
        "Branch": arguments.branch or before["Branch"],
        "Subject": arguments.subject or (before["Subject"] if is_known else repository),
        "Provider": arguments.provider or before["Provider"],
    }
    return {name: value for name, value in told.items() if value}


def still_to_do(account: Account, template: Template) -> Iterator[str]:
    """What only a person can do, as far as it is not done."""
    [stack] = account.client("cloudformation", template.region).describe_stacks(StackName=template.name)["Stacks"]
    arn = next(output["OutputValue"] for output in stack["Outputs"] if output["OutputKey"] == "ConnectionArn")
    connection = account.client("codeconnections").get_connection(ConnectionArn=arn)["Connection"]
    if connection["ConnectionStatus"] != "AVAILABLE":
        yield f"{arn} is {connection['ConnectionStatus']}: complete it in the console, Developer Tools › Connections"
    if not APPROVALS_TO:
        yield "APPROVALS_TO in infrastructure/config.py: nobody is written to when a release waits, or a run has failed"
    yield "at GitHub, for its workflow: the variable AWS_ACCOUNT_ID, both environments, reviewers (docs/deploy.md)"


def _template(folder: Path) -> Template:
    from infrastructure.app import synthesize  # it takes seconds to load

    synthesize(folder, [], judged=False)
    [template] = templates(folder, PROJECT)
    return template


def main(words: Sequence[str] | None = None) -> int:
    """Do what was asked for; every failure is a sentence."""
    say = Say()
    try:
        run(read_arguments(words), Account(STAGES[DEPLOYED[0]]), say)
    except (Refused, StackFailed, BotoCoreError, ClientError, ResponseParserError) as error:
        say.line(str(error), "bold red")
        return 1
    except KeyboardInterrupt:
        say.line("Interrupted. CloudFormation goes on with what it has begun: run it again.", "bold red")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
