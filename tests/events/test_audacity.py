"""Audacity's label tracks and BirdNET's."""

import pytest


def test_begin_end_label_and_a_line_of_frequencies(read_all):
    found = read_all(
        "1.5\t2.5\towl\n\\\t100.5\t900\n3\t3\tcat call\n\\\t-1.000000\t500\n4\t5\t\n", name="a.txt"
    )
    assert [(e.start, e.end, e.label, e.low, e.high) for e in found.events] == [
        (1.5, 2.5, "owl", 100.5, 900.0),
        (3.0, 3.0, "cat call", None, 500.0),
    ]
    assert found.counts["unlabelled"] == 1


@pytest.mark.parametrize(
    "text", ["\\\t1\t2\n1\t2\towl\n", "1\t2\towl\n\\\t1\n", "1\t2\towl\n\\\t1\t2\n\\\t1\t2\n"]
)
def test_stray_frequencies_are_refused(refused, text):
    refused(text, "not an annotation table" if text.startswith("\\") else "stray line")


def test_old_points_have_a_label_as_second_field(read):
    assert read("1.5\towl\n2.5\tcat\n3.5\t7\n") == [
        ("a.wav", 1.5, 1.5, "owl"),
        ("a.wav", 2.5, 2.5, "cat"),
        ("a.wav", 3.5, 3.5, "7"),
    ]


def test_two_numbers_are_regions_if_none_falls_below_the_first(read, refused):
    assert read("1\t2\n3\t3\n", one_class="owl") == [("a.wav", 1, 2, "owl"), ("a.wav", 3, 3, "owl")]
    refused("1\t2\n3\t3\n", "no label", "--one-class")
    assert refused("0.5\t1\n1.5\t2\n2.5\t1\n", "list of beats").line == 3


def test_labels_are_texts_and_commas_decimal(read):
    assert [row[3] for row in read("1\t2\tNone\n3\t4\t1\n5\t6\tnan\n")] == ["None", "1", "nan"]
    assert read("1,5\t2,5\towl, barn\n") == [("a.wav", 1.5, 2.5, "owl, barn")]


@pytest.mark.parametrize(("text", "reason"), [
    ("1,5\t2.5\towl\n", "decimal comma"),
    ("3\t2\towl\n", "end before begin"),
    ("1\t2\towl\tsecond\n", "row longer than the header"),
    ("1\t2\towl\nx\t2\tcat\n", "not a number"),
    ("1\t\towl\n", "blank time"),
    ("0\t1\towl\n70\t71\towl\n", "begin beyond the recording"),
])  # fmt: skip
def test_what_is_refused(refused, text, reason):
    refused(text, reason)


@pytest.mark.parametrize("sign", [", ", "_"])
def test_birdnet_names_become_common_names_and_the_fourth_field_a_confidence(read_all, refused, sign):
    name = f"Turdus merula{sign}Eurasian Blackbird"
    text = f"0\t3.0\t{name}\t0.8765\n3.0\t6.0\tEngine{sign}Engine\t0.2\n6.0\t9.0\tnocall{sign}nocall\t1.0\n"
    found = read_all(text, name="a.BirdNET.results.txt", min_confidence=0.5)
    assert [(event.label, event.confidence) for event in found.events] == [("Eurasian Blackbird", 0.8765)]
    assert (found.counts["weak"], len(found.doubtful)) == (1, 1)
    refused(text, "confidence without --min-confidence", "0.8765", name="a.txt")


def test_a_label_with_an_underscore_stays_where_no_detector_wrote_it(read):
    assert read("0\t3\tTurdus merula_Eurasian Blackbird\n")[0][3] == "Turdus merula_Eurasian Blackbird"


def test_a_very_long_label_of_a_detector_stays_as_it_is(read):
    label = "_" * 100_000  # to look for a name in it would take minutes
    assert read(f"0\t3\t{label}\t0.5\n", min_confidence=0)[0][3] == label
