"""Files and tests that the documents name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "tests" / "golden" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_named_tests_exist(page: Path) -> None:
    for name, function in re.findall(
        r"`(?:tests/)?([\w/]*test_\w+\.py)(?:::(\w+))?`", page.read_text("utf-8")
    ):
        file = ROOT / "tests" / name
        assert file.is_file(), f"{page.name}: {name}"
        assert f"def {function}" in file.read_text("utf-8") if function else True, f"{page.name}: {function}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
