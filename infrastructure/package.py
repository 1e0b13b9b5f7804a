"""The package for Lambda, made by Zappa from what runs there and nothing else. Called by `make package`.

The same commit gives the same bytes, on any host: wheels of the target's platform, hashed; bytecode made here, with the
paths of Lambda in it; the archive written anew, sorted and without a clock.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from vibecode.local.checks import PRODUCTION

REPOSITORY = Path(__file__).resolve().parent.parent
PYTHON = (3, 13)  # the runtime's
# Wheels for glibc 2.28 and older: Lambda's Amazon Linux 2023 has 2.34.
PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
MOST_ZIPPED, MOST_UNPACKED = 30_000_000, 100_000_000  # bytes; Lambda itself takes 250 MB unpacked
STAGES = ("dev", "staging", "production")

# Locked for the laptop's `zappa`, for what Lambda's own runtime brings along (boto3 and all that it needs), and for
# drf-spectacular's command that checks a schema (jsonschema and all that it needs).
NOT_PACKED = frozenset({
    "attrs", "jsonschema", "jsonschema-specifications", "referencing", "rpds-py",
    "argcomplete", "boto3", "botocore", "cfn-flip", "click", "colorama", "hjson", "jmespath", "pip", "placebo",
    "pycparser", "python-slugify", "s3transfer", "setuptools", "text-unidecode", "toml", "tqdm", "troposphere", "wheel",
})  # fmt: skip
# Ours: all of these packages, but what only a laptop runs.
OURS = ("vibecode", "accounts", "catalog", "orders")
RELEASE = "vibecode/release.txt"  # what the package is called; /healthz says it
NOT_OURS = ("vibecode/local/", "catalog/demo/", "catalog/management/")
# Of what was installed: files for other tools, languages that the shop does not speak, static files (they are
# collected), maps, what Pillow needs for pictures that the shop refuses (AVIF), for fonts, colours and windows, what
# makes YAML quick, which nobody speaks here, Authlib for other frameworks, and its JOSE from before joserfc; Stripe's
# types of parameters, which it imports for type checkers alone; of ReportLab all but what draws text on pages.
PRUNED = (
    r".*\.(pyi|po|pxd|c|h)|.*/py\.typed|bin/.*|.*/RECORD|\.lock|README\.rst",
    r".*/locale/(?!en/|en_GB/)[^/]+/.*",
    r"(drf_spectacular_sidecar|unfold|rest_framework|django/contrib/admin)/static/.*",
    r"django/contrib/gis/.*|yaml/_yaml\..*",
    r"stripe/params/.*",
    r"reportlab/(graphics|platypus|fonts)/.*|reportlab/pdfbase/(_cidfontdata|_can_cmap_data|pdfform|acroform)\..*",
    r"authlib/(jose|integrations/(flask_|httpx_|sqla_|starlette_|django_oauth)\w+)/.*",
    r"PIL/_(avif|imagingft|imagingcms|imagingtk)\..*",
    r"pillow\.libs/lib(avif|harfbuzz|freetype|lcms2|png16|brotli).*",
)

type Say = Callable[[str], object]


def build(stage: str, architecture: str, folder: Path, say: Say, *, release: str = "") -> Path:
    """Make the package of a stage in ``folder``, which is emptied; the path of the zip. ``say`` hears each step.

    ``release`` is what /healthz calls it: the commit, where nothing else is said. Raises SystemExit with a sentence
    where this machine cannot make it.
    """
    if sys.version_info[:2] != PYTHON:
        sys.exit(
            f"The package needs bytecode of Python {PYTHON[0]}.{PYTHON[1]}, Lambda's; this one is {sys.version[:6]}."
        )
    shutil.rmtree(folder, ignore_errors=True)
    app, venv = folder / "app", folder / "venv"
    packages = venv / "lib" / f"python{PYTHON[0]}.{PYTHON[1]}" / "site-packages"
    say(f"- Installing the packages for {architecture}")
    _install(packages, PLATFORMS[architecture], folder)
    _prune(packages)
    _compile(packages, keep_sources=False)
    say("- Gathering the shop and its static files")
    _gather(app)
    (app / RELEASE).write_text(f"{release or _commit()}\n")
    _collect_static(app)
    _compile(app, keep_sources=True)
    say("- Packaging with Zappa")
    raw = folder / "raw.zip"
    _run(
        [str(Path(sys.executable).with_name("zappa")), "package", stage, "--output", os.path.relpath(raw, app)],
        cwd=app,
        environment={"VIRTUAL_ENV": str(venv)},
    )
    archive = folder / f"vibecode-{stage}-{architecture}.zip"
    _write_anew(raw, archive)
    raw.unlink()
    return archive


def rename(archive: Path, renamed: Path, release: str) -> Path:
    """A copy of a package that differs in its release alone: a second one, without building it all again."""
    shutil.copyfile(archive, renamed)
    with zipfile.ZipFile(renamed, "a") as opened:
        entry = opened.NameToInfo.pop(RELEASE)
        opened.filelist.remove(entry)
        opened.writestr(_entry(RELEASE), f"{release}\n")
    return renamed


def _install(packages: Path, platform: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    blocks = re.split(r"(?m)^(?=[a-z0-9])", (REPOSITORY / "requirements" / "app.txt").read_text())
    wanted = [block for block in blocks if block and re.split(r"[=\[ ]", block)[0] not in NOT_PACKED]
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(wanted))
    _run([
        str(REPOSITORY / ".uv" / "bin" / "uv"), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--require-hashes", "--requirement", str(requirements), "--target", str(packages), "--link-mode", "copy",
        "--python", sys.executable, "--python-version", "{}.{}".format(*PYTHON), "--python-platform", platform,
    ])  # fmt: skip


def _prune(packages: Path) -> None:
    unwanted = re.compile("|".join(PRUNED))
    for path in sorted(packages.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif unwanted.fullmatch(path.relative_to(packages).as_posix()):
            path.unlink()


def _compile(folder: Path, *, keep_sources: bool) -> None:
    """Make bytecode that no clock invalidates, with Lambda's paths in it.

    Libraries travel without their sources, as bytecode alone: half the size. Zappa leaves bytecode out of folders named
    migrations, so these keep theirs.
    """
    options = ["--invalidation-mode", "unchecked-hash", "-q", "-s", str(folder), "-p", "/var/task"]
    _run([sys.executable, "-m", "compileall", *options, *([] if keep_sources else ["-b"]), str(folder)])
    if keep_sources:
        return
    for source in folder.rglob("*.py"):
        compiled = source.with_suffix(".pyc")
        unwanted = compiled if source.parent.name == "migrations" else source
        unwanted.unlink()


def _gather(app: Path) -> None:
    listed = subprocess.run(  # noqa: S603 -- our own command
        ["git", "ls-files", *OURS, "zappa_settings.json"],  # noqa: S607 -- whichever git there is
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for name in listed:
        if not name.startswith(NOT_OURS):
            target = app / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, target)


def _commit() -> str:
    """Of the checkout, marked where it has changes."""
    described = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=-changed"]
    return subprocess.run(  # noqa: S603 -- our own command
        described, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()


def _collect_static(app: Path) -> None:
    """Into the folder that the settings of a real stage name, under hashed names."""
    settings = {
        **PRODUCTION, "DATABASE_URL": "postgresql://nobody@127.0.0.1/none", "SECRET_KEY": "-" * 50,
        "PYTHONPATH": str(app), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    collect = ["collectstatic", "--no-input", "--verbosity", "0", "--ignore", "redoc", "--ignore", "*es-bundle*"]
    # The browsable API's, which nobody is served, and what Django's admin serves while debugging alone.
    collect += ["--ignore", "rest_framework", "--ignore", "jquery.js", "--ignore", "xregexp.js"]
    _run([sys.executable, "-m", "django", *collect], cwd=app, environment=settings)
    for unwanted in (*(app / "staticfiles").rglob("*.map"), *(app / "staticfiles").rglob("*.gz")):
        unwanted.unlink()  # CloudFront compresses; the browsers' tools do without


def _write_anew(raw: Path, archive: Path) -> None:
    """Zappa's archive without its build's time, user and number, in an order and with times that say nothing."""
    with zipfile.ZipFile(raw) as made, zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as written:
        found = set(made.namelist()) - {"package_info.json"}
        for name in sorted(found):
            if name.endswith("/__init__.py") and (f"{name}c" in found or "/__pycache__/" in name):
                continue  # Zappa makes every folder a package, though it is one, or none
            written.writestr(_entry(name), made.read(name), compresslevel=9)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = 0o755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _run(command: list[str], *, cwd: Path = REPOSITORY, environment: Mapping[str, str] | None = None) -> None:
    result = subprocess.run(  # noqa: S603 -- our own commands
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": "0", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{Path(command[0]).name} failed:\n{result.stdout[-2000:]}{result.stderr[-4000:]}")


def sizes(archive: Path) -> tuple[int, int, Counter[str]]:
    """Bytes zipped and unpacked, and the unpacked ones by part: a library, a package of ours, the static files."""
    parts: Counter[str] = Counter()
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            parts[entry.filename.partition("/")[0]] += entry.file_size
    return archive.stat().st_size, parts.total(), parts


def report(archive: Path) -> Iterator[str]:
    """What was made, line by line: path, SHA-256, sizes beside their budgets, the ten largest parts."""
    zipped, unpacked, parts = sizes(archive)
    yield f"{archive}"
    yield f"SHA-256   {hashlib.sha256(archive.read_bytes()).hexdigest()}"
    yield f"zipped    {zipped / 1e6:6.1f} MB of {MOST_ZIPPED / 1e6:.0f}"
    yield f"unpacked  {unpacked / 1e6:6.1f} MB of {MOST_UNPACKED / 1e6:.0f}"
    yield from (f"  {size / 1e6:6.1f} MB  {part}" for part, size in parts.most_common(10))


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 -- the output of a command


def main() -> int:
    """Make the package and say what is in it; 1 where it is larger than its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=STAGES, default="dev")
    parser.add_argument("--architecture", choices=tuple(PLATFORMS), default="arm64")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".build" / "package")
    arguments = parser.parse_args()
    archive = build(arguments.stage, arguments.architecture, arguments.folder.absolute(), _say)
    _say("\n".join(report(archive)))
    zipped, unpacked, _ = sizes(archive)
    return int(zipped > MOST_ZIPPED or unpacked > MOST_UNPACKED)


if __name__ == "__main__":
    sys.exit(main())
