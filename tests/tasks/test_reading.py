"""Many clips are read in order, whatever some of them do to their decoder, and not far ahead."""

import numpy as np
import pytest
import soundfile

from atst.tasks import load_task, reading
from atst.tasks.reading import read_clips


@pytest.fixture(params=[0, 3, 1000])
def few(request, monkeypatch) -> None:
    """All clips are read by several processes; some of them; none."""
    monkeypatch.setattr(reading, "FEW", request.param)


def write(folder, count):
    noise = np.random.default_rng(0)
    for i in range(count):
        soundfile.write(folder / f"{i}.wav", noise.normal(0, 0.1, 1600 + 160 * i), 16000)
    rows = [f"{i}.wav,{'ab'[i % 2]},{('train', 'test')[i // 2 % 2]}" for i in range(count)]
    (folder / "meta.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    return load_task(folder / "meta.csv")


@pytest.mark.usefixtures("few")
def test_clips_come_as_the_task_reads_them(tmp_path):
    task = write(tmp_path, 12)
    (tmp_path / "5.wav").write_bytes(b"no sound")
    order = [11, 5, 0, 7, 3, 3]
    found = list(read_clips(task, order, 0.1))
    assert [clip.index for clip in found] == order
    assert [bool(clip.error) for clip in found] == [index == 5 for index in order]
    assert found[1].error.startswith(f"{tmp_path / '5.wav'}: ")
    for clip in (found[0], *found[2:]):
        high: list[float] = []
        np.testing.assert_array_equal(clip.waveform, task.read(clip.index, 0.1, high=high))
        assert [clip.high] == high


@pytest.mark.usefixtures("few")
def test_what_is_cut_short_has_its_remarks(tmp_path):
    task = write(tmp_path, 8).heard(None, partial=True)
    (tmp_path / "6.wav").write_bytes((tmp_path / "6.wav").read_bytes()[:1000])
    remarks = {clip.index: clip.remarks for clip in read_clips(task, range(8))}
    assert "truncated" in remarks.pop(6)[0]
    assert not any(remarks.values())


def test_what_is_not_taken_is_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "FEW", 2)
    task, asked = write(tmp_path, 4), []

    def indices():
        for number in range(10_000):
            asked.append(number)
            yield number % 4

    clips = read_clips(task, indices())
    for _ in range(5):
        next(clips)
    clips.close()
    assert len(asked) < 200
