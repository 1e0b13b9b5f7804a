"""A release: which commit it is, its package in the bucket, its static files beside those of the releases before."""

import hashlib
import json
import mimetypes
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infrastructure import package as packages
from infrastructure.deploying.account import Account, Refused, code_of
from infrastructure.deploying.record import Release
from infrastructure.hand_over import REPOSITORY

PACKAGES = "releases/"  # where they are in their bucket
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
COMMIT = re.compile(r"[0-9a-f]{12}")
STATIC = "staticfiles/"
MANIFEST = f"{STATIC}staticfiles.json"
SETTINGS = "zappa_settings.py"  # what Zappa tells its handler, in the package
FOREVER = "public, max-age=31536000, immutable"  # a name with a hash in it never means anything else


def of_checkout(tag: str, *, planned: bool = False) -> Release:
    """The release that this checkout is. Raises Refused where it has changes and nobody gave it a name of its own.

    What is only ``planned`` needs none: it is called as `make package` calls it.
    """
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain")
    if changed and planned and not tag:
        tag = f"{commit}-changed"
    if changed and not tag:
        raise Refused(
            f"The checkout has changes that no commit holds:\n{changed}\nCommit them, or name what you deploy: TAG=…"
        )
    # The same name with other changes is another release: nothing that was begun for the one is done for the other.
    source = commit if not changed else f"{commit}+{hashlib.sha256(_changes().encode()).hexdigest()[:12]}"
    return Release(name=_name(tag or commit), source=source)


def of_package(archive: Path, stage: str) -> Release:
    """The release that a package says it is. Raises Refused where it is none, or was made for another stage."""
    try:
        with zipfile.ZipFile(archive) as opened:
            name = opened.read(packages.RELEASE).decode().strip()
            told = opened.read(SETTINGS).decode()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise Refused(f"{archive} is no package of the shop: {error}.") from None
    made_for = re.search(r"^API_STAGE='(.*)'$", told, re.MULTILINE)
    if made_for is None or made_for[1] != stage:
        said = made_for[1] if made_for else "no stage"
        raise Refused(f"{archive} was made for {said}, not for {stage}: make package STAGE={stage}.")
    return Release(name=_name(name), source=hashlib.sha256(archive.read_bytes()).hexdigest()[:12])


def tagging(release: Release) -> str:
    """The command by which git knows what production has; `make test-previous` looks for it."""
    said = f"{release.name} in production"
    tag = f"release-{datetime.now(UTC):%Y-%m-%d-%H%M}"
    commit = next(filter(_is_commit, (release.source, release.name)), "<the commit that it was made of>")
    return f"git tag -a -m '{said}' {tag} {commit} && git push origin {tag}"


def _is_commit(name: str) -> bool:
    """Whether this checkout has a commit that is called so; the digest of a package looks like one."""
    if not COMMIT.fullmatch(name):
        return False
    try:
        return bool(_git("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}"))
    except Refused:
        return False


def _name(name: str) -> str:
    """The name of a release, which is part of keys and of the tag of an image. Raises Refused for another."""
    if not NAME.fullmatch(name):
        raise Refused(
            f"A release cannot be called {name!r}: letters, digits, dots, dashes and underscores, a letter or a digit "
            "first, at most 64."
        )
    return name


def served(package: zipfile.ZipFile) -> set[str]:
    """The names under which CloudFront has a package's static files. Maps are named there, and not in it."""
    named: dict[str, str] = json.loads(package.read(MANIFEST))["paths"]
    return {hashed for hashed in named.values() if not hashed.endswith(".map")}


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603, S607 -- our own words, whichever git there is
    if done.returncode:
        raise Refused(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def _changes() -> str:
    untracked = list(filter(None, _git("ls-files", "--others", "--exclude-standard", "-z").split("\0")))
    contents = [hashlib.sha256(_content(REPOSITORY / name)).hexdigest() for name in untracked]
    return "\n".join((_git("diff", "HEAD", "--binary"), *map(" ".join, zip(untracked, contents, strict=True))))


def _content(path: Path) -> bytes:
    """What git would keep of it: of a link, where it leads; of a repository of its own nothing."""
    if path.is_symlink():
        return bytes(path.readlink())
    return b"" if path.is_dir() else path.read_bytes()


class Bucket:
    """Where the packages of a stage are kept, and where its static files are served from."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._s3 = account.client("s3")

    def keep(self, release: Release, given: Path | None) -> Release:
        """Put the release's package into the bucket, built now or given; the release with its key."""
        with tempfile.TemporaryDirectory(prefix="vibecode-package-") as folder:
            archive = given or self._build(release, Path(folder))
            content = archive.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        key = f"{PACKAGES}{release.name}-{digest[:12]}.zip"
        if not self.has(key):
            self._s3.put_object(Bucket=self._account.bucket("packages"), Key=key, Body=content)
        return replace(release, package=key, sha256=digest)

    def has(self, key: str) -> bool:
        """Whether a package is there."""
        try:
            self._s3.head_object(Bucket=self._account.bucket("packages"), Key=key)
        except ClientError as error:
            if code_of(error) in {"404", "NoSuchKey", "NotFound"}:
                return False
            raise
        return True

    def keep_only(self, packages: Collection[str]) -> None:
        """Delete every package but these: of releases that nobody goes back to, of deploys that failed."""
        bucket = self._account.bucket("packages")
        for key in sorted(self._names(bucket, PACKAGES) - {*packages}):
            self._s3.delete_object(Bucket=bucket, Key=key)

    def publish(self, release: Release) -> str:
        """Put the package's static files where CloudFront reads them, beside those of other releases."""
        found = self._s3.get_object(Bucket=self._account.bucket("packages"), Key=release.package)["Body"].read()
        bucket = self._account.bucket("static")
        there = self._names(bucket)
        with zipfile.ZipFile(BytesIO(found)) as opened:
            hashed = served(opened)
            for key in sorted(hashed - there):  # what is there has the same bytes, or its name would be another
                self._s3.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=opened.read(f"{STATIC}{key}"),
                    ContentType=mimetypes.guess_type(key)[0] or "application/octet-stream",
                    CacheControl=FOREVER,
                )
        return f"{len(hashed - there)} new of {len(hashed)}"

    def _names(self, bucket: str, beginning: str = "") -> set[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=beginning)
        return {each["Key"] for page in pages for each in page.get("Contents", [])}

    def _build(self, release: Release, folder: Path) -> Path:
        settings: dict[str, Any] = json.loads((REPOSITORY / "zappa_settings.json").read_text())
        _check_unchanged(release)
        try:
            archive = packages.build(
                self._account.stage.name,
                settings["shared"]["architecture"],
                folder / "package",
                lambda _: None,
                release=release.name,
            )
        except SystemExit as said:
            raise Refused(f"The package cannot be made here: {said}") from None
        _check_unchanged(release)
        return archive


def _check_unchanged(release: Release) -> None:
    """The package is made long after the plan. Raises Refused where the checkout is another by then."""
    if (now := of_checkout(release.name)).source != release.source:
        raise Refused(
            f"The checkout has changed since the plan: it was {release.source}, and is {now.source}. Run it again."
        )
