"""Names in either of Unicode's normal forms."""

import pytest

from atst.sound.find import find_audio
from atst.sound.names import existing, same_form

CAFE = ("caf\u00e9", "cafe\u0301")  # one character, or a letter and its accent


def test_labels_are_compared_in_one_form():
    assert same_form(CAFE[1]) == same_form(CAFE[0]) == CAFE[0]


@pytest.mark.parametrize(("folder", "file"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_each_part_of_a_path_is_found_in_the_form_that_exists(tmp_path, folder, file):
    there = f"{CAFE[folder]}/{CAFE[file]}.wav"
    (tmp_path / CAFE[folder]).mkdir()
    (tmp_path / there).write_bytes(b"")
    for asked in (f"{one}/{other}.wav" for one in CAFE for other in CAFE):
        assert existing(tmp_path, asked) == there
        assert existing(tmp_path, str(tmp_path / asked)) == str(tmp_path / there)
        (tmp_path / "list.txt").write_text(f"{asked}\n", encoding="utf-8")
        assert [recording.path for recording in find_audio([tmp_path / "list.txt"]).recordings] == [
            tmp_path / there
        ]


def test_what_is_not_there_keeps_its_name(tmp_path):
    for name in ("none.wav", f"{CAFE[0]}/none.wav", CAFE[1]):
        assert existing(tmp_path, name) == name
