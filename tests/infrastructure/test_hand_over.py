"""The hand-over between CDK and Zappa: whole or refused, every value by name, and no place for a secret."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infrastructure import config
from infrastructure.hand_over import Incomplete, check, complete
from vibecode.local.folder import REPOSITORY
from vibecode.resources import FUNCTION_TIMEOUT, Resources

SETTINGS = json.loads((REPOSITORY / "zappa_settings.json").read_text())
STAGES = ("dev", "staging", "production")
ROLE = "arn:aws:iam::123456789012:role/vibecode-dev-"
SECRET = "arn:aws:secretsmanager:eu-north-1:123456789012:secret:vibecode-dev-Ab12Cd"
WHOLE: dict[str, Any] = {
    "stage": "dev",
    "region": "eu-north-1",
    "account": "123456789012",
    "deploymentBucket": "vibecode-dev-deployments",
    "kmsKeyArn": "arn:aws:kms:eu-north-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef",
    "subnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
    "web": {"roleArn": f"{ROLE}web", "securityGroupIds": ["sg-0123456789abcdef0"]},
    "worker": {"roleArn": f"{ROLE}worker", "securityGroupIds": ["sg-0123456789abcdef1"]},
    "environment": {
        "PUBLIC_URL": "https://dev.shop.example",
        "ORIGIN_SECRET_SHA256": "0" * 64,
        "DATABASE_URL": "postgresql://vibecode_app@shop.cluster-x.eu-north-1.rds.amazonaws.com:5432/vibecode",
        "DATABASE_SIGN_IN": "iam",
        "DATABASE_RESUME_SECONDS": "25",
        "DATABASE_PROXIED": "no",
        "SECRETS_ARN": SECRET,
        "COGNITO_USER_POOL_ID": "eu-north-1_Example1",
        "COGNITO_CLIENT_ID": "1example23456789",
        "COGNITO_DOMAIN": "https://sign-in.dev.shop.example",
        "OIDC_CLIENT_ID": "2example23456789",
        "MEDIA_BUCKET": "vibecode-dev-media",
        "MEDIA_URL": "https://dev.shop.example/media",
        "WEBSOCKET_URL": "wss://live.dev.shop.example",
        "WEBSOCKET_API_URL": "https://live.dev.shop.example",
        "MAIL_FROM": "Shop <orders@shop.example>",
    },
    "workerEnvironment": {
        "DATABASE_OWNER_URL": "postgresql://vibecode_owner@shop.cluster-x.eu-north-1.rds.amazonaws.com/vibecode",
        "DATABASE_OWNER_SIGN_IN": SECRET,
    },
}


def without(document: dict[str, Any], path: str) -> dict[str, Any]:
    """The document less one value."""
    cut = copy.deepcopy(document)
    *outer, last = path.split(".")
    place = cut
    for name in outer:
        place = place[name]
    del place[last]
    return cut


def test_each_value_that_is_missing_is_named_with_what_it_is() -> None:
    inner = [f"environment.{name}" for name in WHOLE["environment"] if name != "MEDIA_URL"]
    paths = [*(name for name in WHOLE if name != "workerEnvironment"), "web.roleArn", "worker.securityGroupIds", *inner]
    for path in paths:
        with pytest.raises(Incomplete) as refused:
            check(without(WHOLE, path))
        _, complaint = str(refused.value).splitlines()
        assert complaint.startswith(f"  {path} is missing: ")
        assert len(complaint) > len(path) + 25, "it says what the value is"


def test_everything_that_is_wrong_is_said_at_once() -> None:
    wrong = without(without(WHOLE, "account"), "environment.PUBLIC_URL")
    wrong["web"]["roleArn"] = "admin"

    with pytest.raises(Incomplete) as refused:
        check(wrong)

    said = str(refused.value)
    assert len(said.splitlines()) == 4
    for part in ("account is missing", "environment.PUBLIC_URL is missing", "web.roleArn must be the ARN of the web"):
        assert part in said


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("environment", "SECRET_KEY", "s3cr3t"),
        ("environment", "STRIPE_API_KEY", "the s3cr3t of Stripe"),
        ("environment", "DATABASE_URL", "postgresql://shop:s3cr3t@db.internal/shop"),
        ("environment", "SECRETS_ARN", "s3cr3t"),
        ("environment", "CACHE_URL", "rediss://:s3cr3t@cache.internal:6379/0"),
        ("environment", "AWS_ENDPOINT_URL", "https://aws.example/s3cr3t"),
        ("workerEnvironment", "DATABASE_OWNER_URL", "postgresql://owner:s3cr3t@db.internal/shop"),
    ],
)
def test_a_secret_has_no_place_in_it_and_is_not_quoted(where: str, name: str, value: str) -> None:
    document = copy.deepcopy(WHOLE)
    document[where][name] = value

    with pytest.raises(Incomplete, match=f"{where}.{name}") as refused:
        check(document)

    assert "s3cr3t" not in str(refused.value)


def test_a_hand_over_that_is_no_document_is_refused() -> None:
    nothings: list[Any] = [[], "dev", None]
    for nothing in nothings:
        with pytest.raises(Incomplete, match="must be a JSON object"):
            check(nothing)


# --- the settings ----------------------------------------------------------------------------------------------------
def stage_settings(settings: dict[str, Any], stage: str) -> dict[str, Any]:
    """A stage's settings with those that it extends, as Zappa reads them."""
    own = settings[stage]
    return {**(stage_settings(settings, own["extends"]) if "extends" in own else {}), **own}


@pytest.mark.parametrize("stage", STAGES)
def test_both_functions_of_a_stage_are_told_what_the_account_decides(stage: str) -> None:
    completed = complete(SETTINGS, check({**WHOLE, "stage": stage}))
    web, worker = (stage_settings(completed, name) for name in (stage, f"{stage}-worker"))

    assert (web["role_arn"], worker["role_arn"]) == (f"{ROLE}web", f"{ROLE}worker")
    assert web["vpc_config"]["SecurityGroupIds"] != worker["vpc_config"]["SecurityGroupIds"]
    for function in (web, worker):
        assert function["aws_environment_variables"]["STAGE"] == stage
        assert "AWS_REGION" not in function["aws_environment_variables"], "Lambda reserves it"
        assert function["aws_environment_variables"]["CACHE_URL"] == "", "or Zappa lets it keep the former one"
        assert "AWS_ENDPOINT_URL" not in function["aws_environment_variables"]
        assert function["tags"].keys() == {"app", "stage", "cost-centre", "data-class"}
        assert function["s3_bucket"] == "vibecode-dev-deployments"
    assert "DATABASE_OWNER_URL" not in web["aws_environment_variables"], "the web role owns nothing"
    assert "DATABASE_OWNER_URL" in worker["aws_environment_variables"]


def test_a_layer_that_traces_is_put_around_both_functions_and_taken_back_whole() -> None:
    layer = config.STAGES["staging"].tracing_layer

    assert [name for name, stage in config.STAGES.items() if stage.tracing_layer] == ["staging"]
    traced = complete(SETTINGS, check({**WHOLE, "tracingLayer": layer}))
    plain = complete(SETTINGS, check(WHOLE))

    for name in ("dev", "dev-worker"):
        assert traced[name]["layers"] == [layer]
        assert traced[name]["aws_environment_variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/otel-instrument"
        told = traced[name]["aws_environment_variables"]
        # Else the layer is OpenTelemetry's own, which sends to a collector that is not there.
        assert (told["OTEL_PYTHON_DISTRO"], told["OTEL_PYTHON_CONFIGURATOR"]) == ("aws_distro", "aws_configurator")
        assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS" not in told, "the layer's own list leaves Django alone"
        assert plain[name]["layers"] == []
        assert plain[name]["aws_environment_variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == "", "or it starts in what is gone"


@pytest.mark.parametrize("stage", STAGES)
def test_the_committed_settings_hold_what_is_true_of_every_account(stage: str) -> None:
    web, worker = (stage_settings(SETTINGS, name) for name in (stage, f"{stage}-worker"))
    resources = Resources(stage=stage, region="eu-north-1", account="123456789012")

    for function in (web, worker):
        assert function["runtime"] == "python3.13"
        assert function["architecture"] == "arm64"
        assert function["lambda_handler"] == "vibecode.lambda_entry.handler"
        assert function["events"] == []
        assert function["aws_region"] == "eu-north-1"
        assert not any(function[name] for name in ("manage_roles", "keep_warm", "debug", "touch"))
        assert not {"role_arn", "vpc_config", "s3_bucket", "aws_environment_variables", "environment_variables",
                    "remote_env"} & function.keys()  # fmt: skip
    assert (web["timeout_seconds"], web["endpoint_configuration"]) == (29, ["REGIONAL"])
    assert (worker["timeout_seconds"], worker["apigateway_enabled"]) == (FUNCTION_TIMEOUT, False)
    assert f"{web['project_name']}-{stage}-worker" == resources.worker
    assert ("snap_start" in web) is (stage != "dev"), "a restore cannot wait for a database that sleeps"
    assert "snap_start" not in worker


# --- the command -----------------------------------------------------------------------------------------------------
def run(document: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """The command, as an engineer types it."""
    return subprocess.run(
        [sys.executable, "-m", "infrastructure.hand_over", str(document), "--output", str(output)],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_completes_the_settings_into_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "hand-over.json").write_text(json.dumps(WHOLE))

    done = run(tmp_path / "hand-over.json", tmp_path / "out" / "settings.json")

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["dev"]["role_arn"] == f"{ROLE}web"
    assert json.loads((REPOSITORY / "zappa_settings.json").read_text()) == SETTINGS


@pytest.mark.parametrize("text", ["{", json.dumps(without(WHOLE, "kmsKeyArn")), None])
def test_the_command_writes_nothing_where_the_hand_over_cannot_be_used(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "hand-over.json").write_text(text)

    done = run(tmp_path / "hand-over.json", tmp_path / "settings.json")

    assert done.returncode == 1
    assert "The hand-over" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "settings.json").exists()
