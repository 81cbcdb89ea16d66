"""A real browser for pages: an installed Chromium, without a window."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; skips without one, or fails where ATST_TEST_BROWSER is set (see .ci/run)."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        reason = "no Chromium on PATH, or no playwright (pip install '.[test]')"
        if os.environ.get("ATST_TEST_BROWSER"):
            pytest.fail(f"ATST_TEST_BROWSER is set, but {reason}")
        pytest.skip(reason)
    options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]  # root has no sandbox
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=options)
        yield running
        running.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new page; any error of its scripts fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    opened, errors = context.new_page(), []
    opened.on("pageerror", lambda error: errors.append(error))  # it takes no built-in
    yield opened
    context.close()
    assert errors == []


@pytest.fixture
def tones(tmp_path: Path) -> list[Path]:
    """24 recordings of a second: every other one is high, the rest are low."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    paths = [folder / f"{'low' if i % 2 else 'high'}_{i:02}.wav" for i in range(24)]
    time = np.arange(16000) / 16000
    for i, path in enumerate(paths):
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (300 if i % 2 else 3000) * time), 16000)
    return paths


@pytest.fixture
def vectors() -> Any:
    """(24, 8) features that tell the tones apart."""
    random = np.random.default_rng(0).normal(size=(24, 8))
    random[:, 0] += np.where(np.arange(24) % 2, 4, -4)
    return random
