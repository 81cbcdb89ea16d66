"""Tables as text for documents: Markdown and LaTeX."""

from collections.abc import Sequence

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines) + "\n"


def latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A `tabular` for LaTeX, with the rules of the package booktabs."""
    head, *body = [" & ".join(map(_latex_cell, line)) + r" \\" for line in [header, *rows]]
    start = rf"\begin{{tabular}}{{{'l' * len(header)}}}"
    lines = [start, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _markdown_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _latex_cell(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))
