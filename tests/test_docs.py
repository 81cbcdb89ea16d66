"""What the documents name is there: files, tests, headings, commands, options; their Python compiles."""

import ast
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest

import atst
from atst.cli import COMMANDS, _app

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "tests/golden/README.md")),
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SYNOPSIS = re.compile(r"[\[\]|]|\.\.\.|\b(?:TASK|SRC|LIB|QUERY|M|DIR|K|F|N)\b")  # placeholders in it
APP = _app()


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks in one of these languages."""
    found = FENCED.findall(page.read_text("utf-8"))
    return [re.sub(f"^{indent}", "", text, flags=re.M) for indent, kind, text in found if kind in languages]


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text("utf-8"))


def command_lines(page: Path) -> Iterator[str]:
    """Lines that call `atst`, with those that continue them."""
    for block in blocks(page, "", "bash", "console", "text"):
        for line in re.sub(r"\\\n|\n +(?=[\[-])", " ", block).splitlines():
            if match := re.match(r"\s*(?:\$ )?(atst .*)", line):
                yield match[1].split("  #")[0].rstrip(" &\\")


def options_of(command: str) -> set[str]:
    arguments = APP[command].assemble_argument_collection()
    return {name for argument in arguments for name in argument.names} | {"--help"}


def slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@each_page
def test_named_tests_exist(page: Path) -> None:
    for name, function in re.findall(
        r"`(?:tests/)?([\w/]*test_\w+\.py)(?:::(\w+))?`", page.read_text("utf-8")
    ):
        file = ROOT / "tests" / name
        assert file.is_file(), f"{page.name}: {name}"
        assert f"def {function}" in file.read_text("utf-8") if function else True, f"{page.name}: {function}"


@each_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", prose(page)):
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ +(.*?)\s*$", prose(file), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name}: {target}#{anchor}"


@each_page
def test_commands_have_the_options_that_are_named(page: Path) -> None:
    inline = re.findall(r"`(atst \w[^`]*)`", prose(page))
    for line in [*command_lines(page), *inline]:
        command = line.split()[1] if len(line.split()) > 1 else ""
        if command not in COMMANDS:
            assert re.fullmatch(r"COMMAND|--\w+", command), f"{page.name}: {line}"
            continue
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", line))
        assert named <= options_of(command), f"{page.name}: {line}: {named - options_of(command)}"


@each_page
def test_command_lines_parse(page: Path) -> None:
    for line in command_lines(page):
        if not SYNOPSIS.search(line):
            try:
                APP.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
            except Exception as error:
                pytest.fail(f"{page.name}: {line}: {error}")


@each_page
def test_python_compiles_and_names_what_is_there(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block, page.name)
        for name in re.findall(r"\batst\.([a-zA-Z]\w*)", block):
            assert hasattr(atst, name) or find_spec(f"atst.{name}"), f"{page.name}: atst.{name}"


def test_python_that_needs_no_file_runs() -> None:
    """Blocks with an untrained model and without the name of a file."""
    alone = [
        (page, block)
        for page in PAGES
        for block in blocks(page, "python")
        if '"random:' in block and not re.search(r'"[^"]*(?:/|\.\w+)"', block)
    ]
    assert alone
    for page, block in alone:
        with redirect_stdout(io.StringIO()):
            exec(compile(block, str(page), "exec"), {})


def test_the_readme_names_every_command() -> None:
    rows = re.findall(r"^\| `atst (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(set(rows)) == sorted(COMMANDS)


@pytest.mark.full
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("material", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "commands" / "embed.html").is_file()
