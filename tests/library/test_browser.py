"""Both pages in a real browser, as a person uses them."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import made
import numpy as np
import pytest

import atst

HOSTILE = "'\"><script>document.title='owned'</script>\n&amp;\\u003c.wav"  # a folder and a file


@pytest.fixture
def library(tmp_path, tones, vectors):
    return made.write(tmp_path / "lib.parquet", vectors, [str(path) for path in tones])


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_map_is_clicked_heard_and_filtered(page, tmp_path, tones, vectors):
    hostile = tmp_path / HOSTILE
    hostile.parent.mkdir()
    tones[0] = tones[0].rename(hostile)
    paths = [str(path) for path in tones]
    library = made.write(tmp_path / "lib.parquet", vectors, paths, label=["<b>up</b>", "down"] * 12)
    atst.explore(library, html=tmp_path / "map.html", map="pca", quiet=True)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "map.html").as_uri())
    page.mouse.click(*on_map(page, 0))
    page.wait_for_selector("#spectrogram[data-drawn='0']")
    assert page.inner_text("#path") == paths[0]
    assert "<b>up</b>" in page.inner_text("#columns")
    wait(page, "byId('player').currentTime > 0")
    assert brightness(page)[48:].mean() < brightness(page)[:48].mean(), "a high tone is in the upper half"
    near = page.evaluate("data.neighbours[0]")
    page.click("#neighbours li:first-child button")
    assert page.inner_text("#path") == paths[near[0]]
    assert near[0] % 2 == 0, "the nearest of a high tone is a high tone"
    page.fill("#filter", "down")
    assert page.inner_text("#matches") == "12 of 24"
    page.select_option("#colour", label="cluster")
    assert page.title() == "lib.parquet"
    assert all(url.startswith(("file:", "data:")) for url in requests), requests


def on_map(page, number: int) -> tuple[float, float]:
    return page.evaluate(
        "i => { const b = canvas.getBoundingClientRect(); return [b.x + place(i)[0], b.y + place(i)[1]] }",
        number,
    )


def brightness(page):
    """Of each line of the spectrogram, from above."""
    pixels = "[...byId('spectrogram').getContext('2d').getImageData(0, 0, 360, 96).data]"
    return np.array(page.evaluate(pixels)).reshape(96, -1, 4)[..., :3].mean((1, 2))


class Program:
    """`atst label` as a process."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "atst", "label", *map(str, arguments), "--no-browser", "--quiet"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def test_ten_are_labelled_undone_reloaded_and_killed(page, tmp_path, library):
    table, classes = tmp_path / "meta.csv", ["--classes", "high,low"]
    program = Program(library, "--labels", table, *classes)
    try:
        page.goto(program.address)
        for number in range(1, 11):
            press(page, number)
        assert [row["label"] == Path(row["path"]).name.split("_")[0] for row in rows(table)] == [True] * 10
        assert {row["split"] for row in rows(table)} == {"train", "test"}
        # which stretches are asked for, hence the figure, depends on how fast training follows
        wait(page, "byId('accuracy').textContent.includes('accuracy on held-back labels: ')")
        wait(page, "byId('player').duration > 0.9 && byId('spectrogram').naturalWidth > 50")
        page.keyboard.press("ArrowLeft")
        wait(page, "byId('counts').textContent.startsWith('9 labelled')")
        undone = page.inner_text("#path")
        assert len(rows(table)) == 9
        page.reload()
        wait(page, "byId('counts').textContent.startsWith('9 labelled')")
        assert page.inner_text("#path") == undone
        program.kill()
        page.keyboard.press("h")
        wait(page, "byId('message').textContent.includes('not running any more')")
        program = Program(library, "--labels", table, *classes)
        page.goto(program.address)
        wait(page, "byId('counts').textContent.startsWith('9 labelled')")
        assert page.inner_text("#path").removeprefix(f"{tmp_path}/") not in [
            row["path"] for row in rows(table)
        ]
        press(page, 10)
        page.click("#stop")
        assert program.process.wait(timeout=60) == 0
        assert len(rows(table)) == 10
    finally:
        program.process.kill()
        program.process.wait()


def wait(page, expression: str) -> None:
    """Until the page says so; the page's policy forbids the browser's own way to wait for an expression."""
    end = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.02)


def press(page, number: int) -> None:
    """Label the stretch that is shown by what its name says."""
    wait(page, f"byId('counts').textContent.startsWith('{number - 1} labelled')")
    page.keyboard.press(Path(page.inner_text("#path")).name[0])
    wait(page, f"byId('counts').textContent.startsWith('{number} labelled')")
