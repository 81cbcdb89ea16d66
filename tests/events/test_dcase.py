"""Tables as the DCASE challenges have them, and the library's own."""

import pytest


def test_columns_may_stand_in_any_order(read):
    assert read("event_label,offset,filename,onset\nowl,2,c.flac,1\n") == [("c.flac", 1.0, 2.0, "owl")]
    assert read("filename\tonset\toffset\tevent_label\nx/a.wav\t1\t2\towl\n") == [("a.wav", 1.0, 2.0, "owl")]


def test_a_name_and_three_blanks_mean_that_nothing_is_there(read_all, refused):
    found = read_all("filename\tonset\toffset\tevent_label\na.wav\t1\t2\towl\nb.wav\t\t\t\n")
    assert (len(found.events), sorted(path.name for path in found.recordings)) == (1, ["a.wav", "b.WAV"])
    refused("filename\tonset\toffset\tevent_label\na.wav\t\t\towl\n", "blank time")


def test_several_recordings_have_their_own_times(read):
    text = "filename\tonset\toffset\tevent_label\na.wav\t50\t51\towl\nc.flac\t3\t4\tcat\n"
    assert read(text) == [("a.wav", 50.0, 51.0, "owl"), ("c.flac", 3.0, 4.0, "cat")]


@pytest.mark.parametrize("text", ["filename\tevent_labels\na.wav\towl,cat\n", "a.wav\t1\t2\towl\n"])
def test_tables_without_times_or_header_are_refused(refused, text):
    refused(text, "not an annotation table")


def test_the_own_table_is_read_again(audio, tmp_path, read):
    text = f"path,start,end,label,confidence\n{audio / 'a.wav'},1,2,owl,0.5\n"
    assert read(text, name="meta.csv") == [("a.wav", 1.0, 2.0, "owl")]
    assert read(text, name="meta.csv", min_confidence=0.6) == []
