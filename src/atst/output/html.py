"""One HTML file with everything in it: text, tables and figures."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from atst.output.atomic import new_file

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; max-width: 62rem;
  margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid #d8dee4; }
p { max-width: 46rem; margin: .5rem 0; }
table { border-collapse: collapse; margin: .7rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top;
  border-bottom: 1px solid #eaeef2; }
th { font-weight: 600; color: #57606a; }
td.number, th.number { text-align: right; }
img { max-width: 100%; height: auto; }
figure { margin: .7rem 0; }
figcaption { color: #57606a; font-size: .9rem; max-width: 46rem; }
.big { font-size: 1.9rem; font-weight: 600; margin: .6rem 0 0; }
.warning { background: #fff8c5; border: 1px solid #eed888; border-radius: 6px; padding: .5rem .8rem; }
"""

DPI = 130


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; columns of numbers, or of their texts, are aligned right."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure and what it shows, in a sentence."""

    figure: Figure
    caption: str = ""


@dataclass(frozen=True)
class Headline:
    """A number to see first, and what it is."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class Alert:
    """A sentence not to be missed."""

    text: str


Part = str | Table | Plot | Headline | Alert  # a str is a paragraph


@dataclass(frozen=True)
class Section:
    """A heading (may be empty) and what stands under it."""

    heading: str
    parts: Sequence[Part]


def write_report(path: str | Path, title: str, sections: Sequence[Section]) -> None:
    """Write a self-contained page: no script, no link, figures as PNG in the text. All text is escaped."""
    body = "\n".join(_section(section) for section in sections)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body>
<h1>{html.escape(title)}</h1>
{body}
</body>
</html>
"""
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # a file name may be no UTF-8


def _section(section: Section) -> str:
    heading = f"<h2>{html.escape(section.heading)}</h2>\n" if section.heading else ""
    return heading + "\n".join(_part(part) for part in section.parts)


def _part(part: Part) -> str:
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Plot):
        return _plot(part)
    if isinstance(part, Headline):
        return f'<p class="big">{html.escape(part.text)}</p>\n<p>{html.escape(part.note)}</p>'
    if isinstance(part, Alert):
        return f'<p class="warning">{html.escape(part.text)}</p>'
    return f"<p>{html.escape(part)}</p>"


def _table(table: Table) -> str:
    numeric = [
        bool(table.rows) and all(_is_number(row[i]) for row in table.rows) for i in range(len(table.header))
    ]

    def row(tag: str, cells: Sequence[object]) -> str:
        classes = [' class="number"' if number else "" for number in numeric]
        return "".join(
            f"<{tag}{kind}>{html.escape(_cell(cell))}</{tag}>"
            for kind, cell in zip(classes, cells, strict=True)
        )

    head = f"<tr>{row('th', table.header)}</tr>\n" if any(table.header) else ""
    return (
        f"<table>\n{head}" + "\n".join(f"<tr>{row('td', cells)}</tr>" for cells in table.rows) + "\n</table>"
    )


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plot(plot: Plot) -> str:
    buffer = io.BytesIO()
    plot.figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    data = base64.b64encode(buffer.getvalue()).decode()
    width = round(plot.figure.get_figwidth() * 96)
    caption = html.escape(plot.caption)
    image = f'<img src="data:image/png;base64,{data}" width="{width}" alt="{caption}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
