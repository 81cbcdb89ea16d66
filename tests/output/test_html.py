"""A report is one page that needs nothing else, and shows text as text."""

import re

from matplotlib.figure import Figure

from atst.output.html import Alert, Headline, Plot, Section, Table, write_report


def page(tmp_path, title, *parts):
    write_report(tmp_path / "report.html", title, [Section("", ["first"]), Section("Second", parts)])
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_every_part_is_shown_and_escaped(tmp_path):
    evil = "<b>&\"'x"
    figure = Figure(figsize=(2, 1))
    parts = (evil, Headline(evil, evil), Alert(evil), Plot(figure, evil), Table([evil], [[evil]]))
    text = page(tmp_path, evil, *parts)
    assert evil not in text
    assert text.count("&lt;b&gt;&amp;&#34;&#39;x") == 10  # title twice, the plot's caption twice
    assert re.search(r'<img src="data:image/png;base64,[\w+/=]+" width="192" alt="', text)
    assert "<h2>Second</h2>" in text
    assert text.count("<h2>") == 1
    assert not re.search(r"https?://|<script|<link", text)
    assert text.endswith("</body>\n</html>\n")


def test_columns_of_numbers_are_aligned_right_and_floats_are_short(tmp_path):
    text = page(tmp_path, "t", Table(["name", "value", "none"], [["a", 1 / 3, "-"], ["2", "0.5", 1]]))
    assert '<tr><th>name</th><th class="number">value</th><th>none</th></tr>' in text
    assert '<tr><td>a</td><td class="number">0.3333</td><td>-</td></tr>' in text


def test_a_table_without_a_header_has_none(tmp_path):
    assert "<th" not in page(tmp_path, "t", Table(["", ""], [["a", "b"]])).split("</style>")[1]


def test_names_that_are_not_utf8_are_replaced(tmp_path):
    assert "a?b" in page(tmp_path, "t", "a\udce4b")
