"""Bytes, cells, columns and numbers, whatever the program."""

import pytest

HEAD = "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
ONE = [("a.wav", 1.0, 2.0, "owl")]


@pytest.mark.parametrize("header", [
    "Begin Time (s)\tEnd Time (s)\tSpecies",
    " begin time (S) \tEND TIME (s)\t species ",
    "Begin.Time..s.\tEnd.Time..s.\tSpecies",
    '"Begin.Time..s."\t"End.Time..s."\t"Species"',
    "Begin Time (s),End Time (s),Species",
    "Begin Time (s);End Time (s);Species",
])  # fmt: skip
def test_a_table_is_known_by_its_header(read, header):
    separator = next(sign for sign in "\t,;" if sign in header)
    assert read(f"{header}\n{separator.join(['1', '2', 'owl'])}\n", name="a.dat") == ONE


@pytest.mark.parametrize("text", ["Begin Time (s)\tSpecies\n1\towl\n", "hello\n", "{}\n", "<html></html>"])
def test_a_file_of_another_kind_is_refused(refused, text):
    refused(text, "not an annotation table")


def test_of_two_columns_the_one_of_exactly_this_name_counts(read_all):
    text = "Begin Time (s)\tEnd Time (s)\tchannel\tChannel\tSpecies\n1\t2\t7\t1\towl\n"
    assert read_all(text).events[0].channel == 1


def test_two_columns_of_which_none_is_exact_are_refused(refused):
    refused("Begin Time (s)\tEnd Time (s)\tspecies\tSPECIES\n1\t2\towl\tcat\n", "several label columns")
    refused("begin time (s)\tBEGIN TIME (s)\tEnd Time (s)\tSpecies\n1\t1\t2\towl\n", "column twice", "BEGIN")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark", "latin-1"])
def test_bytes_become_text(read_all, encoding):
    text = HEAD + "1\t1\t2\tmésange\n"
    data = b"\xfe\xff" + text.encode("utf-16-be") if "mark" in encoding else text.encode(encoding)
    found = read_all(data)
    assert [event.label for event in found.events] == ["mésange"]
    assert any("Latin-1" in note for note in found.notes) == (encoding == "latin-1")


@pytest.mark.parametrize("data", [HEAD.encode("utf-16-le"), b"\xff\xfe\x00", b"Begin Time (s)\x00"])
def test_bytes_that_are_no_text_are_refused(refused, data):
    refused(data, "not text")


@pytest.mark.parametrize("label", ["None", "NA", "nan", "null", "1", "N/A", '"quoted', "a,b", "-", "#N/A"])
def test_every_text_is_a_label(read, label):
    assert read(HEAD + f"1\t1\t2\t{label}\n") == [("a.wav", 1.0, 2.0, label)]


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_lines_end_in_three_ways(read, end):
    assert read((HEAD + "1\t1\t2\towl\n").replace("\n", end)) == ONE


def test_other_control_characters_end_no_line(read):
    assert read(HEAD + "1\t1\t2\towl\x0b\u2028\x85cat\n")[0][3] == "owl\x0b\u2028\x85cat"


def test_a_short_row_has_blanks_at_its_end_and_a_long_one_may_have_blanks(read):
    text = "Begin Time (s)\tEnd Time (s)\tSpecies\tNotes\n1\t2\towl\n3\t4\tcat\tgood\t\t \n\n"
    assert read(text) == [*ONE, ("a.wav", 3.0, 4.0, "cat")]


@pytest.mark.parametrize("sign", ["\t", ","])
def test_a_row_longer_than_the_header_is_refused(refused, sign):
    text = "Begin Time (s)\tEnd Time (s)\tSpecies\n1\t2\towl\n3\t4\tcat\tdog\n".replace("\t", sign)
    assert refused(text, "row longer than the header", "'dog'").line == 3


def test_quotes_hold_separators_and_lines_in_comma_tables(read, refused):
    text = 'Begin Time (s),End Time (s),Species\n1,2,"owl, barn"\n3,4,"a\nb"\n5,6,cat\n'
    assert [row[3] for row in read(text)] == ["owl, barn", "a\nb", "cat"]
    assert refused('Begin Time (s),End Time (s),Species\n1,2,owl\n1,2,"owl\n', "not a table").line == 3


@pytest.mark.parametrize("rows", ["1,5\t2,25\towl", "1,5\t2,25\towl\n3\t4\tcat"])
def test_a_decimal_comma_is_read_where_no_time_has_a_point(read, rows):
    assert read(f"Begin Time (s)\tEnd Time (s)\tSpecies\n{rows}\n")[0] == ("a.wav", 1.5, 2.25, "owl")


@pytest.mark.parametrize("text", [
    "Begin Time (s)\tEnd Time (s)\tSpecies\n1,5\t2.25\towl\n",
    "Begin Time (s)\tEnd Time (s)\tSpecies\n1,5\t2\towl\n3.5\t4\tcat\n",
    'Begin Time (s),End Time (s),Species\n"1,5",2,owl\n',
])  # fmt: skip
def test_a_decimal_comma_in_doubt_is_refused(refused, text):
    refused(text, "decimal comma", "'1,5'")


@pytest.mark.parametrize(("begin", "end", "reason"), [
    ("0:01", "2", "not a number"),
    ("2024-01-01 00:00:00", "2", "not a number"),
    ("nan", "2", "not a number"),
    ("1e999", "2", "not a number"),
    ("1_0", "20", "not a number"),
    ("", "2", "blank time"),
    ("-1", "2", "negative time"),
    ("3", "2", "end before begin"),
])  # fmt: skip
def test_times_that_are_none_are_refused(refused, begin, end, reason):
    text = HEAD + f"1\t1\t2\towl\n2\t{begin}\t{end}\tcat\n"
    assert refused(text, reason, "egin").line == 3


def test_points_are_events(read):
    assert read(HEAD + "1\t2\t2\towl\n") == [("a.wav", 2.0, 2.0, "owl")]


def test_low_above_high_is_swapped_and_said(read_all):
    text = "Begin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n1\t2\t900\t100\towl\n"
    found = read_all(text)
    assert (found.events[0].low, found.events[0].high, found.counts["swapped"]) == (100, 900, 1)


def test_a_frequency_that_is_no_number_is_refused(refused):
    text = "Begin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tSpecies\n1\t2\tlow\towl\n"
    refused(text, "not a number", "Low Freq (Hz) 'low'")


def test_a_channel_that_is_not_all_there_is_to_hear_is_warned_of(read_all):
    text = "Begin Time (s)\tEnd Time (s)\tChannel\tSpecies\n1\t2\t2\towl\n"
    assert "--channel" in " ".join(read_all(text, name="stereo.txt").notes)
    assert read_all(text.replace("\t2\towl", "\t1\towl"), name="a.txt").notes == {}
    assert "has 1" in " ".join(read_all(text, name="a.txt").notes)


def test_an_empty_file_says_nothing(refused):
    refused("", "empty")
    refused(" \n\n", "empty")


def test_a_header_alone_says_that_there_are_no_events(read_all):
    found = read_all(HEAD)
    assert not found.refused
    assert [path.name for path in found.recordings] == ["a.wav"]
