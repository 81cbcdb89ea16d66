"""BirdNET's tables of several versions."""

import pytest

RAVEN_1 = (
    "Selection\tView\tChannel\tBegin File\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
    "Species Code\tCommon Name\tConfidence\tRank\n1\tSpectrogram 1\t1\ta.wav\t0.0\t3.0\t150\t12000\tnorcar\t"
    "Cardinal\t0.8\t1\n2\tSpectrogram 1\t1\ta.wav\t3.0\t6.0\t150\t12000\tnocall\tnocall\t0.9\t1\n"
)
RAVEN_2 = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\t"
    "Species Code\tConfidence\tBegin Path\tFile Offset (s)\n1\tSpectrogram 1\t1\t0\t3.0\t0\t15000\tCardinal"
    "\tnorcar\t0.8\t/data/a.wav\t0.0\n"
)
CSV = (
    "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
    + "0,3.0,Cardinalis,Cardinal,0.8,C:/x\\a.WAV\n"
)
LITE = "Start (s);End (s);Scientific name;Common name;Confidence\n0;3.0;Cardinalis;Cardinal;0.8\n"
R = (
    "filepath,start,end,scientific_name,common_name,confidence,lat,lon,week,overlap\n"
    "/data/a.wav,0,3.0,Cardinalis,Cardinal,0.8,-1,-1,-1,0\n"
)
KALEIDOSCOPE = (
    "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat,lon\n"
    "/,data,a.wav,0,3.0,Cardinalis,Cardinal,0.8,-1,-1\n"
)
AUDACITY = "0\t3.0\tCardinalis cardinalis_Cardinal\t0.8\n"


@pytest.mark.parametrize("text", [RAVEN_1, RAVEN_2, CSV, LITE, R, KALEIDOSCOPE, AUDACITY])
def test_every_form_says_the_same(read, refused, text):
    assert read(text, min_confidence=0) == [("a.wav", 0.0, 3.0, "Cardinal")]
    assert read(text, min_confidence=0.9) == []
    refused(text, "confidence without --min-confidence", "0.8")


def test_kaleidoscope_has_durations(read):
    assert read(KALEIDOSCOPE.replace(",0,3.0,", ",6,3.0,"), min_confidence=0)[0][1:3] == (6.0, 9.0)


def test_the_running_time_of_a_combined_table_does_not_count(read, refused):
    rows = RAVEN_2 + "2\tSpectrogram 1\t1\t63\t66\t0\t15000\tJay\tblujay\t0.7\t/data/c.flac\t3.0\n"
    assert read(rows, min_confidence=0)[1] == ("c.flac", 3.0, 6.0, "Jay")
    refused(rows.replace("\t3.0\n", "\t\n"), "blank File Offset", min_confidence=0)


def test_nocall_alone_says_that_nothing_calls(read_all):
    found = read_all(RAVEN_1.replace("Cardinal", "nocall"), min_confidence=0)
    assert (found.events, len(found.recordings), found.refused) == ([], 1, [])


def test_a_detection_that_was_padded_is_cut(read_all, refused):
    found = read_all(CSV.replace("0,3.0,", "59,62,"), min_confidence=0)
    assert (found.events[0].end, found.counts["cut"]) == (60, 1)
    refused(CSV.replace("0,3.0,", "63,66,"), "begin beyond the recording", min_confidence=0)


@pytest.mark.parametrize("label", ["NoCall", "nocall"])
def test_nocall_in_an_annotation_column_is_a_label(read, label):
    assert read(f"Begin Time (s)\tEnd Time (s)\tAnnotation\n1\t2\t{label}\n")[0][3] == label
