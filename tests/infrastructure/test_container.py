"""The container image, as far as it goes without a container engine: its instructions, read and carried out here."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest

from vibecode.local.checks import PRODUCTION
from vibecode.local.folder import REPOSITORY
from vibecode.local.ports import free_port

IGNORED = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
SECRETLY = re.compile("SECRET_KEY|PASSWORD|TOKEN|STRIPE|CLIENT_SECRET|ACCESS_KEY", re.IGNORECASE)


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, on one line; comments are left out."""
    lines = [line for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line)
    return [(name, arguments.strip()) for name, _, arguments in pairs]


def all_of(name: str) -> list[str]:
    return [arguments for known, arguments in instructions() if known == name]


def copied() -> dict[str, str]:
    """What comes from the checkout, and where it goes."""
    return dict(arguments.split() for arguments in all_of("COPY") if not arguments.startswith("--from"))


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last line counts that speaks of it or of a folder above."""
    parts = Path(path).parts
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    sent = True
    for line in IGNORED:
        pattern, lets_in = line.removeprefix("!"), line.startswith("!")
        name = pattern.removeprefix("**/")
        if any(fnmatch(each if name == pattern else Path(each).name, name) for each in above):
            sent = lets_in
    return sent


# --- read ------------------------------------------------------------------------------------------------------------
def test_the_image_is_made_of_one_exact_python_of_the_shops_version() -> None:
    python = (REPOSITORY / ".python-version").read_text().strip()
    made_of = {source.split()[0] for source in all_of("FROM")}

    assert len(made_of) == 1
    assert re.fullmatch(rf"python:{re.escape(python)}\.\d+-slim-[a-z]+", made_of.pop()), "no registry, no moving tag"


def test_nothing_runs_as_root_and_nothing_is_written_after_the_user_is_named() -> None:
    names = [name for name, _ in instructions()]
    [user] = all_of("USER")

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "a number: ECS and Kubernetes can see that it is not root"
    assert {"RUN", "COPY", "ADD", "USER"}.isdisjoint(names[names.index("USER") + 1 :])
    assert "ADD" not in names


def test_packages_are_the_locked_ones_and_run_nothing_while_they_are_installed() -> None:
    [install] = [run for run in all_of("RUN") if " install " in run]
    requirements = (REPOSITORY / "requirements" / "container.txt").read_text()
    app = (REPOSITORY / "requirements" / "app.txt").read_text()
    blocks = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", requirements, re.MULTILINE | re.DOTALL)

    for option in ("--require-hashes", "--no-deps", "--only-binary :all:"):
        assert option in install
    assert all("--hash=sha256:" in block for block in blocks)
    assert [block.split()[0] for block in blocks if block not in app] == ["gunicorn==27.0.1"], "else as on Lambda"
    assert not re.search(r"^(zappa|pip|placebo)==", requirements, re.MULTILINE)


def test_no_secret_is_built_in_and_no_address_but_the_shops_own() -> None:
    settings = [*all_of("ENV"), *all_of("ARG"), *all_of("RUN")]

    assert not [each for each in settings if SECRETLY.search(each)]
    text = (REPOSITORY / "Dockerfile").read_text()
    assert set(re.findall(r"://([\w.@-]+)", text)) == {
        "shop.example", "sign-in.shop.example", "nobody@127.0.0.1", "127.0.0.1"
    }  # fmt: skip


def test_the_image_holds_what_lambdas_package_holds_of_ours() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    sent = {name for name in listed if is_sent(name)}

    assert IGNORED[0] == "*"
    for source in copied():
        assert any(name == source or name.startswith(source) for name in sent), source
    assert {name.partition("/")[0] for name in sent} == {"accounts", "catalog", "orders", "vibecode", "requirements"}
    assert {name for name in sent if name.startswith("requirements")} == {"requirements/container.txt"}
    for kept_out in ("vibecode/local/", "catalog/demo/", "catalog/management/", ".env", "tests/", "infrastructure/"):
        assert not any(name.startswith(kept_out) for name in sent)
    assert not is_sent("vibecode/__pycache__/settings.cpython-313.pyc")
    assert not is_sent(".env")


# --- carried out -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/app of the image: what is copied, and what the last RUN makes of it."""
    folder = tmp_path_factory.mktemp("image") / "app"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for name in listed:
        source = next((source for source in copied() if source.endswith("/") and name.startswith(source)), None)
        if source and is_sent(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    made = run_last_step(folder, RELEASE="0123456789ab")
    assert made.returncode == 0, made.stderr
    return folder


def run_last_step(folder: Path, **told: str) -> subprocess.CompletedProcess[str]:
    *_, step = all_of("RUN")
    [environment] = [arguments for arguments in all_of("ENV") if "DJANGO_SETTINGS_MODULE" in arguments]
    settings = dict(each.split("=", 1) for each in environment.split() if not each.startswith("PATH="))
    return subprocess.run(
        ["sh", "-c", step.replace("/app /venv/lib", ".")],
        cwd=folder,
        env={"PATH": f"{Path(sys.executable).parent}:{os.defpath}", **settings, **told},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_image_without_a_release_is_not_made(tmp_path: Path) -> None:
    assert run_last_step(tmp_path).returncode != 0


@pytest.fixture
def served(built: Path, tmp_path: Path) -> Iterator[int]:
    """The image's command, at work; its port."""
    [command] = [json.loads(each) for each in all_of("CMD")]
    port = free_port()
    told = {**PRODUCTION, "DATABASE_URL": "postgresql://nobody@127.0.0.1/none", "SECRET_KEY": "-" * 50}
    del told["PYTHONWARNINGS"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [*command[:-1], command[-1].replace(":8000", f":{port}")],
            cwd=built,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
                "WEB_CONCURRENCY": "1",
                "WEB_THREADS": "2",
                **told,
                "ORIGIN_SECRET_SHA256": hashlib.sha256(b"known").hexdigest(),
            },
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 60
            while not is_healthy(port):
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            yield port
        finally:
            server.terminate()
            assert server.wait(30) == 0, "it ends when it is told to"


def is_healthy(port: int) -> bool:
    """What the engine asks by the image's HEALTHCHECK."""
    [check] = all_of("HEALTHCHECK")
    probe = [
        sys.executable if part == "python" else part.replace("8000", str(port))
        for part in json.loads(check[check.index("[") :])
    ]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def ask(port: int, path: str, **headers: str) -> httpx.Response:
    """As a load balancer does that has ended TLS."""
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers={"X-Forwarded-Proto": "https", **headers}, timeout=10)


def test_the_image_serves_the_shop_to_its_origin_alone_and_is_healthy(served: int, built: Path) -> None:
    assert ask(served, "/healthz").headers["X-Release"] == "0123456789ab"
    assert ask(served, "/api/v1/nowhere").status_code == 403
    assert ask(served, "/api/v1/nowhere", **{"X-Origin-Secret": "known"}).status_code == 404
    style = next((built / "staticfiles" / "admin" / "css").glob("base.*.css")).relative_to(built / "staticfiles")
    assert ask(served, f"/static/{style}", **{"X-Origin-Secret": "known"}).status_code == 200
