"""AWS's event documents, an AWS of exact calls, the stacks' templates, and the package unpacked as Lambda does it."""

import json
import os
import platform
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infrastructure import package
from infrastructure.config import STAGES
from tests.infrastructure.stubbed_aws import Aws
from vibecode.aws import client
from vibecode.local.sandboxes import RUNTIME, environment_here, install_runtime

GENERATE = """
import json, sys
from samcli.lib.generated_sample_events.events import Events
made = Events()
json.dump({
    f"{service} {kind}": json.loads(made.generate_event(
        service, kind, {name: tag.get("default") for name, tag in about.get("tags", {}).items()}
    ))
    for service, kinds in made.event_mapping.items() for kind, about in kinds.items()
}, sys.stdout)
"""


@pytest.fixture(scope="session")
def aws_events() -> dict[str, Any]:
    """All that the generator knows, by the words that follow `sam local generate-event`."""
    install_runtime()
    made = subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "-S", "-P", "-c", GENERATE],
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        check=True,
    )
    generated: dict[str, Any] = json.loads(made.stdout)
    return generated


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """All that is expected of it is asked, and nothing else."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    made = Aws()
    yield made
    made.done()


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    """Each stage."""
    return str(request.param)


@pytest.fixture(scope="session")
def folder_of_stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the templates of all stages are written to."""
    return tmp_path_factory.mktemp("stacks")


@pytest.fixture(scope="session")
def templates(folder_of_stacks: Path) -> Mapping[str, Mapping[str, Any]]:
    """The templates of all stages, by the names of their stacks: made once."""
    from infrastructure.app import synthesize  # CDK takes seconds to import

    return synthesize(folder_of_stacks)


@pytest.fixture(scope="session")
def folder_of_everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where those of a stage that asks for everything are written to, with cdk-nag's report."""
    return tmp_path_factory.mktemp("everything")


@pytest.fixture(scope="session")
def everything(folder_of_everything: Path) -> Mapping[str, Mapping[str, Any]]:
    """The templates of a production that asks for everything, which no stage of ours does: made once."""
    from infrastructure.app import synthesize
    from tests.infrastructure.options import ALL

    return synthesize(folder_of_everything, [ALL])


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package for this machine's processor."""
    install_runtime()
    machine = {"aarch64": "arm64"}.get(platform.machine(), "x86_64")
    return package.build("dev", machine, tmp_path_factory.mktemp("archive") / "package", lambda _: None)


@pytest.fixture(scope="session")
def task(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, unpacked: /var/task of a sandbox."""
    made = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(made)
    return made


@pytest.fixture
def environment(transactional_db: None) -> Iterator[dict[str, str]]:
    """What the stage dev tells its functions, with the database and the AWS of this run."""
    secrets = json.dumps({"SECRET_KEY": uuid.uuid4().hex * 2})
    manager = client("secretsmanager")
    arn = manager.create_secret(Name=f"vibecode-dev/settings-{uuid.uuid4().hex}", SecretString=secrets)["ARN"]
    told = environment_here(SECRETS_ARN=arn)
    del told["SECRET_KEY"]  # it is read where SECRETS_ARN says
    yield told
    manager.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
