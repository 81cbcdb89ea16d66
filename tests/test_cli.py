"""What a user of the command line sees: exit codes, one line for a mistake, quick help."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import atst
from atst import cli

embed_module = importlib.import_module("atst.commands.embed")


@pytest.fixture
def run(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            cli.main(arguments)
        return exit.value.code, *capsys.readouterr()

    return run


def test_help_and_import_need_no_pytorch():
    code = (
        "import sys, atst\n"
        "from atst.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as exit: assert exit.code == 0\n"
        "heavy = {'torch', 'pyarrow', 'sklearn', 'matplotlib', 'soundfile'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in cli.COMMANDS:
        assert f" {command} " in done.stdout


def test_a_process_prints_one_line_and_no_traceback():
    command = [sys.executable, "-m", "atst", "embed", "no-such-folder", "--model", "logmel", "--out", "x.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "atst: error: no-such-folder: no such file or folder\n"


@pytest.mark.parametrize(
    "command",
    ["check", "embed", "probe", "predict", "pretrain", "finetune", "evaluate", "search", "duplicates"],
)
def test_what_takes_long_can_be_quiet(run, command):
    assert re.search(r"--quiet\s+-q|-q\s+--quiet", run(command, "--help")[1])


def test_version(run):
    assert run("--version") == (0, f"atst {atst.__version__}\n", "")


def test_every_command_explains_itself_with_an_example(run):
    for command in cli.COMMANDS:
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"atst {command}" in out.split("Parameters")[0].replace(f"Usage: atst {command}", ""), command


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["emebd"], "unknown command 'emebd'. Did you mean 'embed'?"),
        (
            ["embed", "x", "--modell", "m", "--out", "o.npz"],
            "Unknown option: --modell. Did you mean --model?",
        ),
        (["embed", "x", "--out", "o.npz"], "--model requires an argument"),
        (["embed", "--model", "m", "--out", "o.npz"], "SOURCES requires an argument"),
        (["embed", "x", "--model", "m", "--out", "o.npz", "--layers", "two"], '"two"'),
        (["embed", "x", "--model", "m", "--out", "o.npz", "--pooling", "max"], '"published"'),
        (["--verison"], "--verison"),
    ],
)
def test_wrong_usage(run, arguments, expected):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("atst: error: ")
    assert expected in err
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (atst.ModelError("it is broken."), 1, "it is broken."),
        (atst.UsageError("no such key."), 2, "no such key."),
        (OSError(28, "No space left on device", "runs/a"), 1, "runs/a: No space left on device"),
        (OSError("disk quota exceeded"), 1, "disk quota exceeded"),
        (KeyboardInterrupt(), 130, "interrupted."),
        (KeyboardInterrupt("Add --resume to go on."), 130, "interrupted. Add --resume to go on."),
    ],
)
def test_failures_of_a_command_are_one_line(run, monkeypatch, error, code, line):
    def embed() -> None:
        raise error

    monkeypatch.setattr(embed_module, "embed", embed)
    assert run("embed") == (code, "", f"atst: error: {line}\n")


def test_debug_shows_the_traceback(monkeypatch):
    def embed() -> None:
        raise atst.ModelError("it is broken.")

    monkeypatch.setattr(embed_module, "embed", embed)
    monkeypatch.setenv("ATST_DEBUG", "1")
    with pytest.raises(atst.ModelError):
        cli.main(["embed"])


def test_a_defect_is_not_dressed_up_as_a_users_mistake(monkeypatch):
    def embed() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(embed_module, "embed", embed)
    with pytest.raises(ZeroDivisionError):
        cli.main(["embed"])


def test_all_names_of_the_package_are_there():
    for name in atst.__all__:
        assert getattr(atst, name).__name__ == name
    assert set(atst.__all__) <= set(dir(atst))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        atst.nonsense  # noqa: B018


def test_commands_are_listed_once_each():
    files = {path.stem for path in (Path(cli.__file__).parent / "commands").glob("[!_]*.py")}
    assert files == set(cli.COMMANDS)
