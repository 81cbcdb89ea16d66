"""Names come to the screen as they are."""

from atst.output.text import print_table


def test_a_table_shows_square_brackets_and_names_that_are_not_utf8(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_table(["task [x]", "model"], [["birds[2024]", "runs/[bold]mine"], ["a\udce4", "[/]"]])
    out = capsys.readouterr().out
    for text in ("task [x]", "birds[2024]", "runs/[bold]mine", "a\\udce4", "[/]"):
        assert text in out
