"""What a file does to its decoder costs that file alone."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from atst.errors import AudioError
from atst.sound import audio, isolated
from atst.sound.isolated import Decoder
from atst.sound.messages import Request
from atst.sound.pool import Pool

REASONS = {
    "ends": "its decoder crashed (exit code 3)",
    "hangs": "decoding it took more than 2 s",
    "raises": "its decoder failed (MadeUp: made up, for a test)",
}


@pytest.fixture
def sounds(tmp_path):
    """Recordings of 1, 130 and 2 s."""
    noise, paths = np.random.default_rng(0), []
    for name, seconds in (("a", 1), ("long", 130), ("z", 2)):
        paths.append(tmp_path / f"{name}.wav")
        soundfile.write(paths[-1], noise.normal(0, 0.1, seconds * 16000), 16000)
    return paths


def test_the_same_sound_and_the_same_errors(sounds, tmp_path):
    for path in sounds:
        np.testing.assert_array_equal(isolated.read(path), audio.read(path))  # of 130 s: too long to share
        assert isolated.info(path) == audio.info(path)
    np.testing.assert_array_equal(isolated.read(sounds[1], 100, 0.5), audio.read(sounds[1], 100, 0.5))
    blocks = list(isolated.stream(sounds[1], 60.0))
    assert [len(block) // 16000 for block in blocks] == [60, 60, 10]
    np.testing.assert_array_equal(np.concatenate(blocks), audio.read(sounds[1]))
    isolated.read(sounds[0])[0] = 1.0  # it belongs to the caller
    bad = tmp_path / os.fsdecode(b"caf\xe9.wav")
    for ask in (audio.read, isolated.read):
        with pytest.raises(AudioError) as error:
            ask(bad)
        assert str(error.value) == f"{bad}: no such file"
    sounds[1].write_bytes(sounds[1].read_bytes()[:100_000])
    remarks: list[str] = []
    assert len(isolated.read(sounds[1], partial=True, remarks=remarks)) < 51_000
    assert "truncated" in remarks[0]


def test_relative_paths(sounds, monkeypatch, tmp_path):
    for folder, path in ((tmp_path, "a.wav"), (tmp_path.parent, f"{tmp_path.name}/a.wav")):
        monkeypatch.chdir(folder)
        assert len(isolated.read(path)) == 16000
    with pytest.raises(AudioError, match=r"^a\.wav: no such file"):
        isolated.read("a.wav")


def test_relative_paths_of_a_folder_that_is_gone(sounds, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert len(isolated.read("a.wav")) == 16000
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(AudioError, match=r"^a\.wav: no such file"):
        isolated.read("a.wav")
    monkeypatch.chdir(tmp_path)
    assert len(isolated.read("a.wav")) == 16000


def test_what_is_given_up_is_a_file_and_not_a_name(sounds, monkeypatch, tmp_path):
    """Files of one name in two folders, the first of which its decoder does not survive."""
    stub = """
import os
from atst.sound import audio
first = audio.opened
def odd(path, **how):
    os.getcwd().endswith("bad") and os._exit(3)
    return first(path, **how)
audio.opened = odd
"""
    start = isolated.START.replace("from atst.sound.decoding", stub + "from atst.sound.decoding")
    monkeypatch.setattr(isolated, "START", start)
    decoder = Decoder()
    (tmp_path / "bad").mkdir()
    monkeypatch.chdir(tmp_path / "bad")
    for _ in range(2):
        with pytest.raises(AudioError, match=r"^a\.wav: its decoder crashed"):
            list(decoder.ask(Request("read", "a.wav")))
    monkeypatch.chdir(tmp_path)
    (reply,) = decoder.ask(Request("read", "a.wav"))
    assert len(reply.waveform) == 16000
    decoder.stop()


@pytest.mark.parametrize("kind", REASONS)
def test_a_file_that_its_decoder_does_not_survive(odd_decoder, sounds, kind):
    odd = next(path for path in odd_decoder if path.stem == kind)
    for read in (isolated.read, isolated.info):
        with pytest.raises(AudioError) as error:
            read(odd)
        assert str(error.value) == f"{odd}: {REASONS[kind]}"
    with pytest.raises(AudioError, match=r"its decoder|more than 2 s"):
        list(isolated.stream(odd, 60.0))
    assert len(isolated.read(sounds[0])) == 16000


def test_a_file_is_tried_again_and_not_for_ever(odd_decoder, sounds, tmp_path, monkeypatch):
    once = tmp_path / "once.wav"
    once.write_bytes(sounds[0].read_bytes())
    decoder, started = Decoder(), []
    start = decoder._start
    monkeypatch.setattr(decoder, "_start", lambda: started.append(1) or start())
    (reply,) = decoder.ask(Request("read", str(once)))
    assert len(reply.waveform) == 16000
    assert len(started) == 1
    for _ in range(3):
        with pytest.raises(AudioError, match="crashed"):
            list(decoder.ask(Request("read", str(odd_decoder[0]))))
    assert len(started) == 2, "after two attempts it is not tried again"
    decoder.stop()


def test_what_is_left_of_a_file_is_not_taken_for_the_next_one(sounds):
    everything = audio.read(sounds[1])
    left = isolated.stream(sounds[1], 60.0)
    np.testing.assert_array_equal(next(left), everything[:960_000])
    np.testing.assert_array_equal(isolated.read(sounds[0]), audio.read(sounds[0]))
    assert isolated.info(sounds[2]) == audio.info(sounds[2])
    np.testing.assert_array_equal(np.concatenate(list(left)), everything[960_000:])
    np.testing.assert_array_equal(isolated.read(sounds[0]), audio.read(sounds[0]))


def test_a_file_that_was_replaced_is_tried_again(odd_decoder, sounds):
    decoder = Decoder()
    odd = next(path for path in odd_decoder if path.stem == "ends")
    with pytest.raises(AudioError, match="crashed"):
        list(decoder.ask(Request("read", str(odd))))
    started = decoder._start
    calls: list[int] = []
    decoder._start = lambda: calls.append(1) or started()  # type: ignore[method-assign]
    odd.write_bytes(sounds[0].read_bytes())
    with pytest.raises(AudioError, match="crashed"):  # by its name, the stub knows no better
        list(decoder.ask(Request("read", str(odd))))
    assert calls
    decoder.stop()


def test_a_pool_gives_everything_in_order(odd_decoder, sounds):
    files = [*sounds, *odd_decoder, *sounds, odd_decoder[0]]
    requests = [Request("stretch", str(path), {"seconds": 60.0}) for path in files]
    found: list[tuple[str, list[int], str]] = []
    with Pool() as pool:
        for request, replies in pool.each(requests):
            lengths, fault = [], ""
            try:
                for reply in replies:
                    lengths.append(len(reply.waveform) // 16000)
            except AudioError as error:
                fault = str(error).removeprefix(f"{request.path}: ")
            found.append((request.path, lengths, fault))
    sound = [(str(path), own, "") for path, own in zip(sounds, ([1], [60, 60, 10], [2]), strict=True)]
    odd = [(str(path), [], REASONS[path.stem]) for path in odd_decoder]
    assert found == [*sound, *odd, *sound, odd[0]]
    assert all(decoder.process is None or decoder.process.poll() is not None for decoder in pool.decoders)


def test_what_is_not_taken_is_left(sounds):
    with Pool(2) as pool:
        requests = [Request("stretch", str(sounds[1]), {"seconds": 10.0}) for _ in range(20)]
        firsts = [len(next(replies).waveform) for _, replies in pool.each(requests[:3])]
        assert firsts == [160_000] * 3
        next(pool.each(requests))
    for decoder in pool.decoders:
        assert decoder.process is None or decoder.process.poll() is not None


def test_a_file_that_cannot_be_read_costs_no_new_process(sounds, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF" + bytes(100))
    good, bad = (Request("read", str(path)) for path in (next(iter(sounds)), tmp_path / "bad.wav"))
    decoder = Decoder()
    try:
        first = decoder.process.pid
        for following in ([bad, good], []):
            assert len(next(decoder.ask(good, following)).waveform)
            with pytest.raises(AudioError, match=r"bad\.wav"):
                list(decoder.ask(bad))
            assert len(next(decoder.ask(good)).waveform)
        assert decoder.process.pid == first
    finally:
        decoder.stop()


def test_stretches(sounds):
    decoder = Decoder()

    def ask(**stretch):
        replies = list(decoder.ask(Request("stretch", str(sounds[1]), {"seconds": 60.0, **stretch})))
        return np.concatenate([reply.waveform for reply in replies]), replies[-1].remarks

    everything = audio.read(sounds[1])
    for start, end in ((0, 10), (5, 100), (70, None), (125.5, 130)):
        waveform, remarks = ask(start=start, end=end)
        last = None if end is None else round(end * 16000)
        np.testing.assert_array_equal(waveform, everything[round(start * 16000) : last])
        assert remarks == []
    waveform, remarks = ask(start=100, end=130.5, where="m.csv, line 7")
    assert len(waveform) == 480_000
    assert remarks == ["end 130.5 s cut to 130.00 s, where it ends (m.csv, line 7)"]
    for stretch in ({"start": 100, "end": 140}, {"start": 131}):
        with pytest.raises(AudioError, match=r"beyond its end, 130.* s.*\(m\.csv, line 7\)"):
            ask(**stretch, where="m.csv, line 7")
    decoder.stop()


def test_limits_of_memory(sounds, odd_decoder, monkeypatch):
    limit = "import atst.sound.decoding; atst.sound.decoding.MEMORY = 1 << 30; serve("
    start = isolated.START.replace("serve(", limit)
    monkeypatch.setattr(isolated, "START", start.replace("return opened(path, **how)", "bytearray(2 << 30)"))
    decoder = Decoder()
    with pytest.raises(AudioError, match="takes more than 1 GiB of memory"):
        list(decoder.ask(Request("read", str(sounds[0]))))
    decoder.stop()


def test_no_process_outlives_its_owner(tmp_path):
    code = """
import os, sys, time
from atst.sound.pool import Pool
pool = Pool(2)
print(*[decoder.process.pid for decoder in pool.decoders], flush=True)
time.sleep(100)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    children = [int(pid) for pid in owner.stdout.readline().split()]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(_alive(pid) for pid in children):
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in children)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not state.stdout.startswith("Z")


def test_it_needs_no_pytorch():
    code = "import atst.sound.decoding, sys; sys.exit('torch' in sys.modules or 'cyclopts' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
