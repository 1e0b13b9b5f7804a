"""Whether somebody is asked before production. Called by the workflow with GitHub's answer about the environment.

`gh api repos/OWNER/NAME/environments/production | python3 infrastructure/approval.py`: 1 where nobody is, after saying
what to switch on. It runs before anything is installed, by whichever Python there is.
https://docs.github.com/en/rest/deployments/environments#get-an-environment
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

WHERE = "Settings › Environments › production (docs/deploy.md, In the pipeline)"


def missing(environment: Mapping[str, Any]) -> Iterator[str]:
    """What stands open between a push and production."""
    rules = environment.get("protection_rules", ())
    if not any(rule["type"] == "required_reviewers" and rule["reviewers"] for rule in rules):
        yield "has no required reviewers"
    if not environment.get("deployment_branch_policy"):
        yield "lets all branches in"


def main() -> int:
    """Say what is missing; 1 where something is."""
    found = list(missing(json.load(sys.stdin)))
    for each in found:
        print(f"The environment production {each}: {WHERE}", file=sys.stderr)  # noqa: T201 -- the output of a command
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
