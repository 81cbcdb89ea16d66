"""The command `atst`: finds the command, turns its failures into one line and an exit code.

A command is a function in `atst/commands/`; `cyclopts` makes options and help from its signature and
docstring. It is imported when it is called, not before, so that `atst --help` needs no PyTorch.
"""

import ast
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Never

import cyclopts

from atst import __version__
from atst.cores import importing, wait_passively
from atst.errors import AtstError, unknown
from atst.training import signals

COMMANDS = (
    "demo",
    "check",
    "annotations",
    "pack",
    "pretrain",
    "embed",
    "tasks",
    "probe",
    "finetune",
    "predict",
    "evaluate",
    "convert",
    "export",
    "push",
    "search",
    "duplicates",
    "explore",
    "label",
)  # in the order of first use

HELP = """Self-supervised audio representation learning: sound in, an encoder and its embeddings out.

`atst demo` shows everything on built-in sounds. `atst COMMAND --help` explains a command."""


def main(arguments: Sequence[str] | None = None) -> Never:
    """Run `atst` with these arguments (default: the process's) and exit.

    Exit codes: 0 done, 1 failed work, 2 wrong usage, 128 + its number after a signal. A user's mistake
    prints one line; with ATST_DEBUG=1 in the environment its traceback too.
    """
    wait_passively()  # before a command imports PyTorch
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    tokens = ["/dev/stdin" if token == "-" else token for token in tokens]  # cyclopts takes - for an option
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: a file name may not be valid UTF-8
    try:
        signals.install(signals.handler(signals.stop))  # not Ctrl-C alone: half-written files are removed
        if tokens and tokens[0] in COMMANDS:
            with importing():
                importlib.import_module(f"atst.commands.{tokens[0]}")
        elif tokens and not tokens[0].startswith("-"):
            raise unknown("command", tokens[0], COMMANDS)  # cyclopts would import every command to say so
        _app()(tokens, print_error=False, exit_on_error=False, result_action="return_none")
    except cyclopts.CycloptsError as error:
        error.verbose = False
        _fail(error, f"{error}\n{_where_to_look(tokens)}", 2)
    except AtstError as error:
        _fail(error, str(error), error.exit_code)
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:  # a full disk, a folder without permission
        _fail(error, f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except KeyboardInterrupt as interrupt:  # the argument says how to continue the command
        _fail(interrupt, f"interrupted. {interrupt}".strip(), signals.exit_code())
    sys.exit(0)


def _app() -> cyclopts.App:
    app = cyclopts.App(
        name="atst",
        version=f"atst {__version__}",
        version_format="plaintext",
        help=HELP,
        help_format="markdown",
        suppress_keyboard_interrupt=False,
        default_parameter=cyclopts.Parameter(negative_iterable=()),
    )
    for name in COMMANDS:
        app.command(f"atst.commands.{name}:{name}", name=name, help=_docstring(name))
    return app


def _docstring(command: str) -> str | None:
    """A command's docstring, read from its source instead of by a slow import."""
    source = (Path(__file__).parent / "commands" / f"{command}.py").read_text(encoding="utf-8")
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return ast.get_docstring(next(node for node in functions if node.name == command))


def _where_to_look(tokens: Sequence[str]) -> str:
    command = next((f" {token}" for token in tokens[:1] if token in COMMANDS), "")
    return f"See atst{command} --help."


def _fail(error: BaseException, text: str, exit_code: int) -> Never:
    if os.environ.get("ATST_DEBUG", "0") not in ("", "0"):
        raise error
    print(f"atst: error: {text}", file=sys.stderr)
    sys.exit(exit_code)
