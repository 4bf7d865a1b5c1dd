"""A headless Chromium that is installed, driven by Playwright."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # WebGL without a GPU, for the view in space:
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)
NONE = "no Chromium: apt install chromium (Ubuntu has it as a snap alone, which no container runs)"


@cache
def chromium() -> str | None:
    """Return the program of a Chromium that starts; Ubuntu's package is a stub without snap."""
    for name in NAMES:
        path = shutil.which(name)
        if path is None:
            continue
        asked = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
        if asked.returncode == 0:
            return path
    return None


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a Chromium with a profile of its own."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
        try:
            yield running
        finally:
            running.close()


def problems_of(page: Page) -> list[str]:
    """Return a list that collects the page's errors, with violations of its security policy."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    return problems
