from page import PAGE, page


def test_the_page_of_formats_is_that_of_the_kinds():
    assert PAGE.read_text() == page(), "python tests/sound/page.py writes it anew"
