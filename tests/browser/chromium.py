"""Which Chromium the browser tests drive: the machine's, Playwright's that is here, else one fetched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
APPLICATIONS = (  # macOS
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FETCH = [sys.executable, "-m", "playwright", "install", "chromium"]
HOW = (
    "The browser tests need a Chromium and found none. Install one (Debian: apt-get install chromium; macOS: "
    "brew install --cask chromium; anywhere: .venv/bin/playwright install chromium) or name one in CHROMIUM."
)


def find_chromium(playwright: Playwright) -> str:
    """The path of a Chromium, installed if need be and possible. Raises RuntimeError saying how to get one."""
    for fetch in (_nothing, _from_playwright_with_libraries, _from_debian, _from_playwright):
        fetch()
        if found := _of_the_machine() or _of_playwright(playwright):
            return found
    raise RuntimeError(HOW)


def _of_the_machine() -> str | None:
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    return found or next((path for path in APPLICATIONS if Path(path).exists()), None)


def _of_playwright(playwright: Playwright) -> str | None:
    path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _nothing() -> None:
    """What is here already comes first."""


def _from_playwright_with_libraries() -> None:
    if _may_install():
        print("fetching Chromium with Playwright", file=sys.stderr)
        _try([*FETCH, "--with-deps"], seconds=600)


def _from_debian() -> None:
    if _may_install():
        print("installing Debian's chromium", file=sys.stderr)
        _try(["apt-get", "update", "-q"], seconds=300)
        _try(["apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium"], seconds=900)


def _from_playwright() -> None:
    """Its Chromium alone comes last: without libraries it does not start, but they may be there."""
    print("fetching Chromium with Playwright, without its libraries", file=sys.stderr)
    _try(FETCH, seconds=300)


def _may_install() -> bool:
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def _try(command: list[str], *, seconds: int) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, env=environment, capture_output=True, check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
