"""Raven's selection tables: views, running times, recordings, label columns."""

import pytest

HEAD = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n"


def table(*rows, header="Begin Time (s)\tEnd Time (s)\tBegin File\tSpecies"):
    return "\n".join([header, *("\t".join(map(str, row)) for row in rows)]) + "\n"


def test_a_selection_is_one_event_in_however_many_views(read_all):
    rows = [
        "1\tWaveform 1\t1\t1.0\t2.0\t0\t8000\towl",
        "1\tSpectrogram 1\t1\t1.0005\t2.0\t500\t900\towl",
        "1\tSelection Spectrum 1\t1\t\t\t500\t900\towl",
        "2\tWaveform 1\t1\t3.0\t4.0\t0\t8000\t",
    ]
    found = read_all(HEAD + "\n".join(rows))
    assert [(e.start, e.low, e.label, e.line) for e in found.events] == [(1.0005, 500, "owl", 3)]
    assert (found.counts["merged"], found.counts["unlabelled"]) == (2, 1)


def test_without_a_view_column_nothing_is_merged(read):
    text = "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\n1\t1\t2\towl\n1\t1\t2\tcat\n"
    assert len(read(text)) == 2


def test_one_view_alone_is_not_merged_however_it_is_numbered(read):
    rows = ["1\tSpectrogram 1\t1\t1\t2\t0\t1\towl", "1\tSpectrogram 1\t1\t3\t4\t0\t1\tcat"]
    assert len(read(HEAD + "\n".join(rows))) == 2


@pytest.mark.parametrize(("second", "reason"), [
    ("1\tSpectrogram 1\t1\t1.002\t2.0\t500\t900\towl", "views differ"),
    ("1\tSpectrogram 1\t1\t1.0\t2.0\t500\t900\tcat", "views differ"),
    ("1\tWaveform 1\t1\t5\t6\t500\t900\towl\n1\tSpectrogram 1\t1\t1\t2\t0\t1\towl", "selection twice"),
    ("2\tSpectrogram 1\t1\t\t\t500\t900\tcat", "blank time"),
])  # fmt: skip
def test_views_that_do_not_fit_are_refused(refused, second, reason):
    refused(HEAD + "1\tWaveform 1\t1\t1.0\t2.0\t0\t8000\towl\n" + second, reason)


OFFSETS = "Begin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tSpecies"


@pytest.mark.parametrize("header", [OFFSETS, OFFSETS.replace("File Offset (s)", "File Offset")])
def test_a_file_offset_tells_where_in_its_recording_an_event_is(read, header):
    text = table((1.0049, 2, "a.wav", "1.0", "owl"), (65, 66.5, "b.WAV", 5, "cat"), header=header)
    assert read(text) == [("a.wav", 1.0049, 2.0, "owl"), ("b.WAV", 5.0, 6.5, "cat")]


def test_file_offsets_for_some_rows_only_are_refused(refused):
    text = table((1, 2, "a.wav", "1", "owl"), (65, 66, "b.WAV", "", "cat"), header=OFFSETS)
    assert refused(text, "blank File Offset").line == 3


def test_one_recording_without_offset_is_taken_as_it_is(read):
    assert read(table((40, 41, "a.wav", "owl"))) == [("a.wav", 40.0, 41.0, "owl")]


def test_times_within_each_recording_are_taken_where_the_rows_prove_it(read_all):
    found = read_all(table((1, 2, "a.wav", "owl"), (3, 4, "b.WAV", "cat")))
    assert [(event.path.name, event.start) for event in found.events] == [("a.wav", 1), ("b.WAV", 3)]
    assert "prove" in " ".join(found.notes)


@pytest.mark.parametrize("rows", [
    [(1, 2, "a.wav", "owl"), (61, 62, "b.WAV", "cat")],  # it runs on
    [(50, 51, "a.wav", "owl"), (12, 13, "c.flac", "cat")],  # it may: c first is 10 s long
    [(50, 51, "a.wav", "owl"), (3, 4, "c.flac", "cat")],  # c before a
])  # fmt: skip
def test_times_that_may_run_on_are_refused(refused, rows):
    refused(table(*rows), "times may run on", "--order")


def test_the_order_of_the_recordings_settles_it(read, refused):
    text = table((50, 51, "a.wav", "owl"), (72, 73, "b.WAV", "cat"))
    order = ("a.wav", "c.flac", "b.WAV")
    assert read(text, order=order) == [("a.wav", 50.0, 51.0, "owl"), ("b.WAV", 2.0, 3.0, "cat")]
    refused(text, "not in this order", "'a.wav'", order=("b.WAV", "a.wav"))
    refused(text, "not in this order", "'b.WAV'", order=("a.wav", "c.flac"))


def test_a_begin_beyond_the_recording_is_refused(refused, read):
    assert refused(table((61, 62, "a.wav", "owl")), "begin beyond the recording", "run on", "60").line == 2
    assert read(table((60, 60, "a.wav", "owl"))) == [("a.wav", 60.0, 60.0, "owl")]


def test_an_end_beyond_the_recording_is_cut_and_counted(read_all, refused):
    found = read_all(table((59, 62, "a.wav", "owl")))
    assert [(event.start, event.end) for event in found.events] == [(59, 60)]
    assert found.counts["cut"] == 1
    refused(table((59, 64, "a.wav", "owl")), "end beyond the recording", "4 s beyond")


def test_an_event_that_ends_in_another_file_is_cut_and_counted(read_all):
    header = "Begin Time (s)\tEnd Time (s)\tBegin File\tEnd File\tFile Offset (s)\tSpecies"
    found = read_all(table((58, 90, "a.wav", "b.WAV", 58, "owl"), header=header))
    assert [(event.path.name, event.start, event.end) for event in found.events] == [("a.wav", 58, 60)]
    assert found.counts["cut"] == 1


NAMES = "Annotation", "species", "LABEL", "Tags", "Class", "Call.type", "Sound type", "Type", "Common Name"


@pytest.mark.parametrize("name", NAMES)
def test_the_only_known_column_with_text_holds_the_labels(read, name):
    text = table(
        (1, 2, "good", "", "owl"), header=f"Begin Time (s)\tEnd Time (s)\tNotes\tSpecies code\t{name}"
    )
    assert read(text) == [("a.wav", 1.0, 2.0, "owl")]


def test_a_blank_known_column_does_not_count(read):
    text = table((1, 2, "", "owl"), header="Begin Time (s)\tEnd Time (s)\tAnnotation\tSpecies")
    assert read(text)[0][3] == "owl"


def test_label_columns_in_doubt_are_refused(refused, read):
    header = "Begin Time (s)\tEnd Time (s)\tNotes\tSpecies\tType"
    both = table((1, 2, "n", "owl", "song"), header=header)
    refused(both, "several label columns", "'Species'", "'Type'", "--label-column")
    assert read(both, label_column="type")[0][3] == "song"
    assert read(both, one_class="bird")[0][3] == "bird"
    refused(both, "no such label column", "'Specie'", "Notes", label_column="Specie")
    blank = table((1, 2, "n", "", ""), header=header)
    refused(blank, "no label column", "blank", "--one-class")
    refused("Begin Time (s)\tEnd Time (s)\tNotes\n1\t2\tn\n", "no label column", "--label-column")


def test_labels_are_trimmed_and_keep_their_case(read):
    text = table((1, 2, "a.wav", "  Owl "), (3, 4, "a.wav", "owl"), (5, 6, "a.wav", ""))
    assert [row[3] for row in read(text)] == ["Owl", "owl"]
