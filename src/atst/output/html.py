"""Self-contained HTML reports: text, tables and figures in one file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from atst.output.atomic import write_text

DPI = 130


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; columns of numbers, or of their texts, are aligned right."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        columns = [[row[i] for row in self.rows] for i in range(len(self.header))]
        return [bool(column) and all(map(_is_number, column)) for column in columns]


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure and what it shows, in a sentence."""

    figure: Figure
    caption: str = ""

    @cached_property
    def png(self) -> str:
        """The figure in base64."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
        return base64.b64encode(buffer.getvalue()).decode()

    @property
    def width(self) -> int:
        """In CSS pixels."""
        return round(self.figure.get_figwidth() * 96)


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
    page = template("atst.output", "report").render(title=title, sections=sections)
    write_text(Path(path), page)


def template(package: str, name: str, **options: Any) -> jinja2.Template:
    """The template NAME.html.jinja of a package, which escapes all text; `options` of its environment."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.filters["cell"] = lambda value: f"{value:.4g}" if isinstance(value, float) else str(value)
    environment.tests["kind"] = lambda part, name: type(part).__name__ == name
    return environment.get_template(f"{name}.html.jinja")


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
