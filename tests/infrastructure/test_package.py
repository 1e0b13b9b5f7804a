"""The package for Lambda: only what runs there, for its processor, within its budget, the same bytes each time."""

import hashlib
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure import package
from tests.in_process import FULL

MACHINES = {"x86_64": 62, "arm64": 183}  # e_machine of an ELF file's header
# Every architecture in the full run; on a small one that of real stages.
ARCHITECTURES = tuple(MACHINES) if FULL else ("arm64",)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An architecture and its package."""
    folder = tmp_path_factory.mktemp("package") / "one"
    return request.param, package.build("dev", request.param, folder, lambda _: None)


def names(archive: Path) -> list[str]:
    """Every file in it."""
    with zipfile.ZipFile(archive) as opened:
        return opened.namelist()


def binaries(archive: Path) -> Iterator[tuple[str, int]]:
    """Each file that is machine code, with the machine that its header names."""
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            head = opened.open(name).read(20)
            if head[:4] == b"\x7fELF":
                yield name, struct.unpack_from("<H", head, 18)[0]
            else:
                assert not re.search(r"\.so(\.|$)|\.(dll|dylib|pyd)$", name), name


def test_its_size_is_within_the_budget_and_the_largest_parts_are_told(built: tuple[str, Path]) -> None:
    zipped, unpacked, parts = package.sizes(built[1])
    told = list(package.report(built[1]))

    assert zipped <= package.MOST_ZIPPED
    assert unpacked <= package.MOST_UNPACKED
    assert len(told) == 14
    assert told[4].endswith(parts.most_common(1)[0][0])


def test_every_binary_is_for_the_processor_that_it_will_run_on(built: tuple[str, Path]) -> None:
    architecture, archive = built
    found = dict(binaries(archive))

    assert len(found) > 20
    assert set(found.values()) == {MACHINES[architecture]}


def test_only_what_runs_on_lambda_is_in_it(built: tuple[str, Path]) -> None:
    found = names(built[1])
    unwanted = re.compile(
        r"vibecode/local/|tests/|infrastructure/|benchmarks/|requirements/|catalog/demo/|moto/|boto3/|botocore/|pip/"
        r"|stripe/params/|reportlab/(graphics|platypus)/|staticfiles/rest_framework/"
        r"|.*\.env.*|.*zappa_settings.*\.json|.*/\.git|\.local/|.*secret-key|package_info\.json|bin/|.*\.map$|.*\.po$"
    )

    assert [name for name in found if unwanted.match(name)] == []
    for wanted in (
        "vibecode/lambda_entry.py", "zappa/handler.pyc", "zappa_settings.py", "staticfiles/staticfiles.json",
        "vibecode/db/aurora-ca.pem", "orders/schemas/order-created.v1.json", "orders/migrations/__init__.py",
        "orders/fonts/DejaVuSans.ttf", "orders/fonts/LICENSE", "stripe/__init__.pyc", "tzdata/zoneinfo/Europe/London",
    ):  # fmt: skip
        assert wanted in found, wanted


def test_it_holds_no_secret_and_nothing_of_this_machine(built: tuple[str, Path]) -> None:
    with zipfile.ZipFile(built[1]) as opened:
        for name in opened.namelist():
            content = opened.read(name)
            assert str(package.REPOSITORY).encode() not in content, name
            if name.startswith(package.OURS) or name == "zappa_settings.py":
                assert not re.search(
                    rb"[rs]k_(live|test)_\w{8}|AKIA[0-9A-Z]{16}|-{5}BEGIN [A-Z ]*PRIVATE KEY", content
                ), name


def test_every_module_has_its_bytecode_and_none_is_made_anew_by_a_clock(built: tuple[str, Path]) -> None:
    with zipfile.ZipFile(built[1]) as opened:
        found = set(opened.namelist())
        compiled = [name for name in found if name.endswith(".pyc")]
        flags = {struct.unpack_from("<I", opened.open(name).read(8), 4)[0] for name in compiled}
        ours = [name for name in found if name.startswith(package.OURS) and name.endswith(".py")]

    assert flags == {1}, "unchecked hashes: https://docs.python.org/3/reference/import.html#pyc-invalidation"
    assert len(ours) > 100
    for name in ours:
        folder, _, module = name.rpartition("/")
        assert f"{folder}/__pycache__/{module[:-3]}.cpython-313.pyc" in found, name


def test_static_files_have_hashed_names_and_the_manifest_knows_them(built: tuple[str, Path]) -> None:
    with zipfile.ZipFile(built[1]) as opened:
        manifest = json.loads(opened.read("staticfiles/staticfiles.json"))["paths"]
        found = set(opened.namelist())

    assert {"unfold/css/styles.css", "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"} <= manifest.keys()
    for name, hashed in manifest.items():
        assert name.endswith(".map") or f"staticfiles/{hashed}" in found, name
        assert re.search(r"\.[0-9a-f]{12}(\.|$)", hashed), name


def test_the_same_commit_gives_the_same_bytes_wherever_it_is_made(
    built: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = package.build(
        "dev", built[0], tmp_path_factory.mktemp("elsewhere") / "with" / "another-path", lambda _: None
    )

    first, second = (hashlib.sha256(archive.read_bytes()).hexdigest() for archive in (built[1], again))
    assert first == second
