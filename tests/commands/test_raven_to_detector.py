"""The commands of docs/raven-to-detector.md run, and print and write what the page shows."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from atst import cli
from atst.events.collect import collect
from atst.events.event import Options
from atst.events.recordings import Recordings

PAGE = (Path(__file__).parents[2] / "docs" / "raven-to-detector.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATST_CACHE", str(tmp_path / "cache"))
    scripts = [text for kind, text in BLOCKS if kind == "python"]
    exec(compile(scripts[0], "make_field.py", "exec"), {})
    printed = ""
    commands = [line for kind, text in BLOCKS if not kind for line in text.splitlines()]
    for command in commands:
        if command.startswith("atst "):
            with pytest.raises(SystemExit) as exit:
                cli.main(shlex.split(command)[1:])
            out, err = capsys.readouterr()
            assert exit.value.code == 0, err
            printed += out
        else:
            subprocess.run(command, shell=True, check=True)
    files = "".join(path.read_text() for path in [*tmp_path.glob("*/*.txt"), tmp_path / "meta.csv"])
    shown = [line for kind, text in BLOCKS if kind == "text" for line in text.splitlines()]
    assert len(commands) == 7
    for line in shown:
        first = line.rsplit("\t", 1)[0]  # the last digits of a confidence depend on the machine
        assert line in printed or first in files, line
    sources = [tmp_path / name for name in ("checked", "calls.selections.txt")]
    found = [
        collect([source], Options(min_confidence=0), Recordings([tmp_path / "new"], beside_first=False))
        for source in sources
    ]
    assert [(e.path, e.start, e.end, e.label, e.confidence) for e in found[0].events] == [
        (e.path, e.start, e.end, e.label, e.confidence) for e in found[1].events
    ]
    assert not found[0].refused + found[1].refused
