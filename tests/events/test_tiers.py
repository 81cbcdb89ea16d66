"""Praat's TextGrids and ELAN's files: tiers."""

import pytest

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 6
tiers? <exists>
size = {size}
item []:
    item [1]:
        class = "IntervalTier"
        name = "calls"
        xmin = 0
        xmax = 6
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = ""
        intervals [2]:
            xmin = 1.5
            xmax = 2.5
            text = "the ""owl""
hoots 3 times"
        intervals [3]:
            xmin = 2.5
            xmax = 6
            text = " "
"""
POINTS = """    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 6
        points: size = 1
        points [1]:
            number = 4
            mark = "click"
"""
SHORT = """File type = "ooTextFile"
"TextGrid"
0
6
<exists>
1
"IntervalTier" "calls" 0 6 3
0 1.5 ""
1.5 2.5 "the ""owl""
hoots 3 times" ! 7 "no"
2.5
6
" "
"""
OWL = ("a.wav", 1.5, 2.5, 'the "owl"\nhoots 3 times')


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("text", [LONG.format(size=1), SHORT, SHORT.replace("\n", "\r\n")])
def test_long_and_short_textgrids(read, text, encoding):
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    assert read(mark + text.encode(encoding), name="a.TextGrid") == [OWL]


def test_a_tier_is_chosen_by_name(read, refused):
    both = LONG.format(size=2) + POINTS
    refused(both, "several tiers", "'calls' (1)", "'clicks' (1)", "--label-column", name="a.TextGrid")
    assert read(both, name="a.TextGrid", label_column="clicks") == [("a.wav", 4, 4, "click")]
    assert read(both, name="a.TextGrid", label_column="calls") == [OWL]
    refused(both, "no such label column", "'words'", name="a.TextGrid", label_column="words")
    assert read(both.replace('"click"', '"x"').replace("the", ""), name="a.TextGrid", label_column="clicks")


@pytest.mark.parametrize("text", [
    LONG.format(size=2),
    LONG.format(size=1).replace("xmax = 2.5", "xmax = long"),
    LONG.format(size=1).replace("IntervalTier", "SoundTier"),
    SHORT.replace("0 6 3", "0 6 99999999999"),
    SHORT.replace("0 6 3", "0 6 2.5"),
    SHORT.replace("0 6 3", "0 6"),
])  # fmt: skip
def test_a_textgrid_that_is_cut_or_odd_is_refused(refused, text):
    refused(text, "not a TextGrid", name="a.TextGrid")


def test_a_textgrid_without_tiers_or_texts_has_no_events(read_all):
    found = read_all(SHORT[: SHORT.index("<exists>")] + "<absent>\n", name="a.TextGrid")
    assert (found.events, len(found.recordings), found.refused) == ([], 1, [])


def eaf(slots, tiers, head='TIME_UNITS="milliseconds"'):
    order = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{name}"' + (f' TIME_VALUE="{ms}"' if ms is not None else "") + "/>"
        for name, ms in slots.items()
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT><HEADER {head}>'
        f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/x/b.wav"/></HEADER><TIME_ORDER>{order}</TIME_ORDER>'
        f"{tiers}</ANNOTATION_DOCUMENT>"
    )


def aligned(name, first, last, label):
    return (
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}" TIME_SLOT_REF1="{first}" '
        f'TIME_SLOT_REF2="{last}"><ANNOTATION_VALUE>{label}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>'
    )


def below(name, parent, label):
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{parent}">'
        f"<ANNOTATION_VALUE>{label}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )


def tier(name, *annotations):
    return f'<TIER TIER_ID="{name}">{"".join(annotations)}</TIER>'


def test_elan_counts_milliseconds_and_names_its_recording(read):
    text = eaf({"t1": 1500, "t2": 2250}, tier("calls", aligned("a1", "t1", "t2", " owl ")) + tier("none"))
    assert read(text, name="z.eaf") == [("b.WAV", 1.5, 2.25, "owl")]


def test_elan_slots_without_value_lie_evenly_between_their_neighbours(read, refused):
    chain = [aligned("a1", "t1", "t2", "x"), aligned("a2", "t2", "t3", "y")]
    text = eaf({"t1": 1000, "t2": None, "t3": 2000}, tier("calls", *chain))
    assert read(text) == [("b.WAV", 1.0, 1.5, "x"), ("b.WAV", 1.5, 2.0, "y")]
    broken = eaf({"t1": 1000, "t2": None, "t3": 2000}, tier("calls", chain[0]))
    refused(broken, "time slot without value", "'t2'", "'calls'")


def test_elan_annotations_below_others_share_their_times(read, refused):
    parents = tier("songs", aligned("a1", "t1", "t2", "song"))
    children = tier("notes", below("n1", "a1", "do"), below("n2", "a1", "re"))
    text = eaf({"t1": 1000, "t2": 2000}, parents + children + tier("marks", below("m1", "n2", "m")))
    assert read(text, label_column="notes") == [("b.WAV", 1.0, 1.5, "do"), ("b.WAV", 1.5, 2.0, "re")]
    assert read(text, label_column="marks") == [("b.WAV", 1.5, 2.0, "m")]
    orphan = eaf({"t1": 1000, "t2": 2000}, tier("notes", below("n1", "a9", "do")))
    refused(orphan, "time slot without value", "'do'")


@pytest.mark.parametrize(("text", "reason"), [
    (eaf({}, "", head='TIME_UNITS="NTSC-frames"'), "time units"),
    (eaf({"t1": "soon"}, ""), "not a number"),
    (eaf({"t1": "9" * 5000}, ""), "not a number"),
    ("<ANNOTATION_DOCUMENT>", "not XML"),
    ('<!DOCTYPE x [<!ENTITY a "b">]><ANNOTATION_DOCUMENT>&a;</ANNOTATION_DOCUMENT>', "unsafe XML"),
    ("<annotations/>", "not an annotation table"),
])  # fmt: skip
def test_elan_files_that_cannot_be_read_are_refused(refused, text, reason):
    refused(text, reason)
