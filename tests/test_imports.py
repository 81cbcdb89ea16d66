"""A package imports only from those above it in the order of the design, and no modules import each other."""

import ast
import graphlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import atst

SOURCES = Path(atst.__file__).parent
# From the top of DESIGN's table down; those in one line do not know each other.
ORDER = (
    {"errors", "cores"},
    {"output"},
    {"sound"},
    {"onnx"},
    {"model"},
    {"corpus"},
    {"events"},
    {"tasks"},
    {"scoring"},
    {"training"},
    {"pretraining", "finetuning", "evaluation"},
    {"library", "hear"},
    {"sklearn"},
    {"commands"},
    {"cli"},
    {"__init__", "__main__"},
)
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}
MODULES = sorted(SOURCES.rglob("*.py"))


def package(path: Path) -> str:
    """The package of a file, or the file itself beside the packages."""
    return path.relative_to(SOURCES).parts[0].removesuffix(".py")


def imports(path: Path, types: bool = True) -> Iterator[tuple[int, str]]:
    """Line and name of all that is imported from atst, also in functions and, with `types`, for types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not types:
        tree = WithoutTypes().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        # the version is set before the package's file imports anything
        yield from ((node.lineno, n) for n in names if n.startswith("atst.") and n != "atst.__version__")
        assert "atst" not in names, f"{path}:{node.lineno}: import what is needed of atst"


class WithoutTypes(ast.NodeTransformer):
    """Leaves out what stands under `if TYPE_CHECKING:`."""

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def upward(path: Path) -> list[str]:
    """The imports of a file that point to its own level or below it."""
    own, found = package(path), []
    for line, name in imports(path):
        other = name.split(".")[1]
        if other != own and LEVEL.get(other, len(ORDER)) >= LEVEL[own]:
            found.append(f"{path.relative_to(SOURCES)}:{line}: {own} imports {name}")
    return found


def module(name: str) -> Path | None:
    """The file that an imported name is, or is in."""
    path = SOURCES.parent / name.replace(".", "/")
    above = path.parent
    for found in (
        path.with_suffix(".py"),
        path / "__init__.py",
        above.with_suffix(".py"),
        above / "__init__.py",
    ):
        if found.is_file():
            return found
    return None


def test_every_package_has_a_place_in_the_order():
    assert {package(path) for path in MODULES} <= LEVEL.keys()


@pytest.mark.parametrize("name", sorted({package(path) for path in MODULES}))
def test_a_package_imports_only_from_those_above_it(name):
    assert [line for path in MODULES if package(path) == name for line in upward(path)] == []


def drawn() -> dict[str, set[str]]:
    """By package, those that it may import by the drawing in CONTRIBUTING.md: all above it."""
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = text.split("graph TD")[1].split("```")[0].split("\n")
    above: dict[str, set[str]] = {}
    for line in lines:
        levels = [[name.strip() for name in part.split("&")] for part in line.split("-->")]
        for upper, lower in itertools.pairwise(levels):
            for name in lower:
                above.setdefault(name, set()).update(upper)
    order = graphlib.TopologicalSorter(above).static_order()
    for name in order:
        above[name] = set().union(*({one} | above[one] for one in above.get(name, ())))
    return above


def test_the_drawing_for_contributors_has_every_import():
    above, free = drawn(), {"errors", "output", "cores"}
    found = {(package(path), name.split(".")[1]) for path in MODULES for _, name in imports(path)}
    missing = {(own, other) for own, other in found if other not in above.get(own, set()) | free | {own}}
    assert {own for own, _ in missing} <= {"__init__", "__main__"}, missing


def test_no_modules_import_each_other():
    found = {
        path: {module(name) for _, name in imports(path, types=False)} - {None, path} for path in MODULES
    }
    graphlib.TopologicalSorter(found).prepare()  # raises CycleError, which names the circle
