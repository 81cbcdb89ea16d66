"""Whatever a file holds, it is read or refused; nothing else is raised."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atst.events.event import Options, Refused
from atst.events.formats import is_annotation, read_table

GOOD = (
    b"Selection\tView\tBegin Time\tEnd Time\tSpecies\n1\tWaveform\t1\t2\tx\n1\tSpectrogram\t1\t2\tx\n",
    b"1.5\t2.5\towl\n\\\t100\t200\n3\t4\tcat\n",
    b'File type = "ooTextFile"\n"TextGrid"\n0\n6\n<exists>\n1\n"IntervalTier" "a" 0 6 1\n0 6 "owl"\n',
    b'<sv><model sampleRate="10" type="sparse" dimensions="1"/><point frame="5" label="a"/></sv>',
    b'<ANNOTATION_DOCUMENT><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="5"/><TIER/></ANNOTATION_DOCUMENT>',
    b"Start (s),End (s),Common name,Confidence\n0,3,owl,0.5\n",
    b"1.5,2,3,owl\n2.5,2,3,cat\n",
)
ODD = (
    b"",
    b"\t",
    b"\n",
    b'"',
    b"\\",
    b",",
    b"-",
    b"9" * 400,
    b"1e-308",
    b"nan",
    b"<",
    b"\xff",
    b"\xff\xfe",
    b"\0",
)
CHANGES = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 9), st.sampled_from(ODD)), max_size=4)


@pytest.mark.parametrize("good", GOOD)
@given(changes=CHANGES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(tmp_path, good, changes):
    data = bytearray(good)
    for at, length, odd in changes:
        data[at : at + length] = odd
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    assert is_annotation(path) in (True, False)
    with suppress(Refused):
        read_table(path, Options(layer="regions"))


def test_a_number_beyond_any_is_refused(tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_bytes(GOOD[2].replace(b"0 6 1", b"0 6 " + b"9" * 400))
    with pytest.raises(Refused, match="not a number"):
        read_table(path, Options())
