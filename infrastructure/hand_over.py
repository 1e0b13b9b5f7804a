"""What CDK hands over to Zappa: one JSON document a stage, checked, and zappa_settings.json completed by it.

`python -m infrastructure.hand_over FILE` writes a settings file for `zappa --settings_file`; it is not committed, as it
names what is the account's. No secret is in either: functions read theirs by ARN.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from infrastructure.config import STAGES

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
SCHEMA: Mapping[str, Any] = json.loads((HERE / "hand_over.schema.json").read_text())


def _unset(part: str) -> Mapping[str, str]:
    """Every setting of a part of the document as empty. AWS's own variables are not ours to empty."""
    return {name: "" for name in SCHEMA["properties"][part]["properties"] if not name.startswith("AWS_")}


# With OpenTelemetry's layer, Lambda starts us inside of it, and it sends traces alone, to Lambda's own X-Ray: the layer
# says by itself that it is AWS's only where Application Signals are on. An empty wrapper is none.
TRACED = {
    "AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument",
    "OTEL_AWS_APPLICATION_SIGNALS_ENABLED": "false",
    "OTEL_PYTHON_DISTRO": "aws_distro",
    "OTEL_PYTHON_CONFIGURATOR": "aws_configurator",
}

type Document = Mapping[str, Any]


class Incomplete(Exception):
    """The hand-over cannot be used; its text says of each value what it should be."""


def check(document: Any) -> Document:
    """Give the document back when it is whole. Raises Incomplete, naming every value that is missing or wrong."""
    found = sorted(set(_complaints(document)))
    if found:
        raise Incomplete("\n".join(["The hand-over cannot be used:", *(f"  {line}" for line in found)]))
    checked: Document = document
    return checked


def _complaints(document: Any) -> Iterator[str]:
    environment = document.get("environment") if isinstance(document, dict) else None
    told = environment if isinstance(environment, dict) else {}
    if ".execute-api." not in str(told.get("PUBLIC_URL", ".execute-api.")) and "ORIGIN_SECRET_SHA256" not in told:
        about = SCHEMA["properties"]["environment"]["properties"]["ORIGIN_SECRET_SHA256"]["description"]
        yield f"environment.ORIGIN_SECRET_SHA256 is missing: {about}."
    for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document):
        where = ".".join(map(str, error.absolute_path))
        path = f"{where}." if where else ""
        known = error.schema.get("properties", {})
        if error.validator == "required":
            for name in sorted(set(error.validator_value) - set(error.instance)):
                yield f"{path}{name} is missing: {known[name]['description']}."
        elif error.validator == "additionalProperties":
            for name in sorted(set(error.instance) - set(known)):
                yield f"{path}{name} is not known here; secrets travel in the secret that SECRETS_ARN names."
        else:  # the value is not quoted: somebody may have put a secret there
            yield f"{where or 'The document'} must be {error.schema.get('description', 'a JSON object')}."


def complete(settings: Mapping[str, Mapping[str, Any]], document: Document) -> dict[str, dict[str, Any]]:
    """The committed settings of Zappa with the document's stage, and its worker, told what the account decides.

    A setting of ours that the document leaves out is told as empty, which is unset: Zappa lets a function keep what it
    was told before and is told no more.
    """
    stage = document["stage"]
    alone = {**_unset("workerEnvironment"), **document.get("workerEnvironment", {})}
    functions = {stage: ("web", {}), f"{stage}-worker": ("worker", alone)}
    layers = [document["tracingLayer"]] if "tracingLayer" in document else []
    completed = {name: dict(values) for name, values in settings.items()}
    for name, (which, more) in functions.items():
        function = document[which]
        completed[name] |= {
            "aws_region": document["region"],
            "s3_bucket": document["deploymentBucket"],
            "role_arn": function["roleArn"],
            "vpc_config": {"SubnetIds": document["subnetIds"], "SecurityGroupIds": function["securityGroupIds"]},
            "aws_kms_key_arn": document["kmsKeyArn"],
            "aws_environment_variables": {
                "STAGE": stage,
                "AWS_ACCOUNT_ID": document["account"],
                **_unset("environment"),
                **(TRACED if layers else dict.fromkeys(TRACED, "")),
                **document["environment"],
                **more,
            },
            "layers": layers,
            "tags": {
                "app": "vibecode",
                "stage": stage,
                "cost-centre": STAGES[stage].cost_centre,
                "data-class": "personal",
            },
        }
    return completed


def main() -> int:
    """Complete the settings by the document in a file; 1, and nothing written, where it cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("document", type=Path)
    parser.add_argument("--output", type=Path, default=REPOSITORY / ".build" / "zappa_settings.json")
    arguments = parser.parse_args()
    settings = json.loads((REPOSITORY / "zappa_settings.json").read_text())
    try:
        completed = complete(settings, check(json.loads(arguments.document.read_text())))
    except (OSError, ValueError) as error:
        sys.exit(f"The hand-over {arguments.document} cannot be read: {error}")
    except Incomplete as incomplete:
        sys.exit(str(incomplete))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(completed, indent=2) + "\n")
    print(f"Written: {arguments.output}")  # noqa: T201 -- the output of a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
