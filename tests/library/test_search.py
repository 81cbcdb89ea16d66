"""`atst search`: exact hits, queries of every kind, output in every form, and mistakes in one line."""

import csv
import importlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from made import ABOUT, write

import atst
from atst import AudioError, Library, ModelError, UsageError
from atst.library import similarity
from atst.library.page import Sound, write_page

RNG = np.random.default_rng(1)
VECTORS = RNG.normal(2, 3, (40, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Twelve tones, four of each of three heights, with a long recording; and their library."""
    folder = tmp_path_factory.mktemp("sounds")
    for i in range(12):
        hertz = (300, 1000, 3000)[i % 3] + 5 * i
        tone = 0.3 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)
        soundfile.write(folder / f"{i:02}.wav", tone + RNG.normal(0, 0.01, 16000), 16000)
    soundfile.write(folder / "long.wav", RNG.normal(0, 0.1, 130 * 16000), 16000)
    atst.embed([folder], model="logmel", out=folder / "x.parquet", quiet=True)
    return folder


def cosines(vectors, row):
    standard = (vectors - vectors.mean(0)) / vectors.std(0)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    return standard @ standard[row]


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 60), st.integers(1, 20), st.integers(0, 99))
def test_similarities_are_cosines_of_standardised_rows(tmp_path_factory, rows, group, seed):
    vectors = np.random.default_rng(seed).normal(5, 2, (rows, 4)).astype(np.float32)
    library = Library(write(tmp_path_factory.mktemp("s") / "x.parquet", vectors, group=group))
    row = seed % rows
    hits = library.search(f"{row}.wav", k=rows)
    expected = cosines(vectors.astype(float), row)
    order = [int(hit.path.removesuffix(".wav")) for hit in hits]
    assert sorted([*order, row]) == list(range(rows))
    np.testing.assert_allclose([hit.similarity for hit in hits], expected[order], atol=1e-4)
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)


def test_many_groups_are_searched_by_several_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(similarity, "FEW", 2)
    monkeypatch.setattr(similarity, "cores", lambda: 3)
    hits = Library(write(tmp_path / "x.parquet", VECTORS, group=4)).search("7.wav", k=5)
    expected = np.argsort(-cosines(VECTORS.astype(float), 7))[1:6]
    assert [hit.row for hit in hits] == expected.tolist()


def test_hits_of_one_recording_are_folded(tmp_path):
    paths = [f"{i // 10}.wav" for i in range(40)]
    library = Library(write(tmp_path / "x.parquet", VECTORS, paths))
    hits = library.search("0.wav", k=3, per_file=1)
    assert {hit.path for hit in hits} == {"1.wav", "2.wav", "3.wav"}
    counts = [hit.path for hit in library.search("0.wav", k=6, per_file=2)]
    assert all(counts.count(path) == 2 for path in counts)


def test_a_row_needs_no_model_and_is_no_hit_of_itself(sounds, monkeypatch):
    monkeypatch.setattr("atst.model.load.load", None)
    hits = Library(sounds / "x.parquet").search(sounds / "01.wav", k=3)
    assert {hit.path[-6:] for hit in hits} == {"04.wav", "07.wav", "10.wav"}


def test_another_file_is_embedded_by_the_librarys_model(sounds, tmp_path):
    copy = tmp_path / "copy.wav"
    copy.write_bytes((sounds / "05.wav").read_bytes())
    hits = Library(sounds / "x.parquet").search(copy, k=2)
    assert hits[0].path == str(sounds / "05.wav")
    assert hits[0].similarity > 0.9999


def test_a_stretch_is_the_rows_in_it_or_is_cut_out(sounds, monkeypatch):
    library = Library(sounds / "x.parquet")
    long = str(sounds / "long.wav")
    cut = library.search(long, k=2, time=(70, 75))  # no row lies in it
    assert {(hit.path, hit.start) for hit in cut} == {(long, 0.0), (long, 120.0)}  # but the row that it is of
    monkeypatch.setattr("atst.model.load.load", None)
    whole = library.search(long, k=2, time=(60, 120))
    assert {(hit.path, hit.start) for hit in whole} == {(long, 0.0), (long, 120.0)}


def test_a_path_in_another_spelling_is_the_same_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    library = Library(write(tmp_path / "x.parquet", VECTORS[:3], ["a/b.wav", "a/c.wav", "d.wav"]))
    for text in ("a/b.wav", "./a/b.wav", str(tmp_path / "a/b.wav"), "a/../a/b.wav"):
        assert {hit.path for hit in library.search(text)} == {"a/c.wav", "d.wav"}


@pytest.mark.parametrize("frames", [False, True])
def test_a_query_is_embedded_as_the_rows_were(tmp_path, frames):
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", RNG.normal(0, 0.1, 8000 * (i + 1)), 16000)
    (tmp_path / "other").write_bytes((tmp_path / "1.wav").read_bytes())
    out = tmp_path / "x.parquet"
    options = {"frames": frames, "layers": 2, "quiet": True}
    atst.embed([tmp_path], model="random:nano", out=out, **options)
    hits = Library(out).search(tmp_path / "other", k=3, per_file=1)
    assert hits[0].path == str(tmp_path / "1.wav")
    if not frames:
        assert hits[0].similarity > 0.9999


def test_output_on_the_screen_and_in_files(sounds, tmp_path, capsys):
    queries = [str(sounds / "00.wav"), str(sounds / "01.wav")]
    hits = atst.search(sounds / "x.parquet", queries, k=2)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("query", "similarity", "0.00", "1.00"))
    assert [(hit.query, hit.rank) for hit in hits] == [(q, r) for q in queries for r in (1, 2)]
    atst.search(sounds / "x.parquet", queries, k=2, out=tmp_path / "h.csv")
    with (tmp_path / "h.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["query"], row["path"]) for row in rows] == [(hit.query, hit.path) for hit in hits]
    assert set(rows[0]) == {"query", "rank", "path", "start", "end", "similarity"}
    atst.search(sounds / "x.parquet", queries, k=2, out=tmp_path / "h.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [line["similarity"] for line in lines] == pytest.approx([hit.similarity for hit in hits], abs=1e-6)


def test_the_page_holds_pictures_and_players_of_the_stretches(sounds, tmp_path):
    atst.search(sounds / "x.parquet", [str(sounds / "00.wav")], k=2, out=tmp_path / "h.html")
    page = (tmp_path / "h.html").read_text()
    assert page.count("data:image/png;base64,") == page.count("data:audio/flac;base64,") == 3
    assert not re.search(r"""(src|href)=["'](?!data:)|<script|url\(""", page)


HOSTILE = ['"><script>alert(1)</script>.wav', "'onerror='x.wav", "{{ 7 * 7 }}.wav", "a\nb.wav", "\udcff.wav"]


def test_hostile_names_are_text_on_the_page(tmp_path):
    sounds = [Sound(name, None, 0.0, np.nan, name) for name in HOSTILE]
    write_page(tmp_path / "p.html", HOSTILE[0], [(name, sounds) for name in HOSTILE])
    page = (tmp_path / "p.html").read_text()
    assert "<script" not in page
    assert "{{ 7 * 7 }}" in page
    assert not re.search(r"<[^>]*onerror='", page)
    assert page.count("not on this disk") == len(HOSTILE) ** 2


def test_hostile_names_come_out_of_a_search_as_they_are(tmp_path, capsys):
    names = [*HOSTILE[:4], "=cmd()", "[bold]x[/bold]"]
    write(tmp_path / "x.parquet", VECTORS[:6], names)
    atst.search(tmp_path / "x.parquet", [names[0]], k=5, out=tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} == set(names[1:])
    atst.search(tmp_path / "x.parquet", [names[0]], k=5, out=tmp_path / "h.html")
    assert "<script" not in (tmp_path / "h.html").read_text()
    atst.search(tmp_path / "x.parquet", [names[0]], k=5)
    assert "[bold]x[/bold]" in capsys.readouterr().out


def test_missing_recordings_are_named_and_found_below_root(sounds, tmp_path, capsys):
    table = write(tmp_path / "x.parquet", VECTORS[:12], [f"gone/{i:02}.wav" for i in range(12)])
    atst.search(table, ["gone/03.wav"], k=2)
    assert re.search(r"not on this disk: 2 \(.*gone/\d\d\.wav.*--root", capsys.readouterr().err)
    atst.search(table, ["gone/03.wav"], k=2, root=sounds, out=tmp_path / "h.html")
    assert "not on this disk" not in capsys.readouterr().err + (tmp_path / "h.html").read_text()


def test_few_rows_and_fewer_hits_than_wanted_are_said(tmp_path, capsys):
    write(tmp_path / "x.parquet", VECTORS[:2])
    hits = atst.search(tmp_path / "x.parquet", ["0.wav"], k=5)
    assert [hit.path for hit in hits] == ["1.wav"]
    said = capsys.readouterr().err
    assert "standardised over 2 rows only" in said
    assert "1 hits, fewer than -k 5" in said


def bad(*queries, **options):
    return lambda folder: atst.search(folder / "x.parquet", list(queries), **options)


MISTAKES = {
    "neither a file nor a row": (bad("nope"), UsageError, "nope: neither a file nor a path of the library"),
    "k": (bad("0.wav", k=0), UsageError, "-k must be 1 or more, not 0"),
    "per file": (bad("0.wav", per_file=0), UsageError, "--per-file must be 1 or more"),
    "time": (bad("0.wav", time="5-3"), UsageError, "--time 5-3: give a start and a later end"),
    "time without end": (bad("0.wav", time="5"), UsageError, "--time 5: give"),
    "out": (bad("0.wav", out="x.txt"), UsageError, "must end in .csv, .jsonl or .html"),
    "a stretch of what is not there": (bad("0.wav", time="2-3"), atst.AtstError, "is missing"),
    "no sound": (
        lambda folder: atst.search(folder / "y.parquet", [str(folder / "text")]),
        AudioError,
        "not audio",
    ),
    "no such model": (
        lambda folder: bad(str(folder / "a.wav"), model="nope")(folder),
        ModelError,
        "nope: no such model",
    ),
    "another model": (
        lambda folder: bad(str(folder / "a.wav"))(folder),
        ModelError,
        "logmel: fingerprint [0-9a-f]+, but .* was made with f",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(tmp_path, name):
    call, kind, message = MISTAKES[name]
    write(tmp_path / "x.parquet", VECTORS)
    write(tmp_path / "y.parquet", VECTORS, about={"model": "logmel"})
    (tmp_path / "text").write_text("some words")
    soundfile.write(tmp_path / "a.wav", VECTORS[:, 0] / 100, 16000)
    with pytest.raises(kind, match=message) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_gone_can_be_given(sounds, tmp_path):
    about = ABOUT | {"model": "/gone/model", "fingerprint": atst.load("logmel").fingerprint}
    library = Library(write(tmp_path / "x.parquet", Library(sounds / "x.parquet").matrix(), about=about))
    (tmp_path / "q.wav").write_bytes((sounds / "02.wav").read_bytes())
    with pytest.raises(ModelError, match=r"/gone/model, cannot be loaded .* Give it with --model"):
        library.search(tmp_path / "q.wav")
    assert library.search(tmp_path / "q.wav", k=1, model="logmel")[0].path == "2.wav"


def test_metadata_without_a_fingerprint_is_taken(sounds, tmp_path):
    about = {"model": "logmel"}
    library = Library(write(tmp_path / "x.parquet", Library(sounds / "x.parquet").matrix(), about=about))
    (tmp_path / "q.wav").write_bytes((sounds / "02.wav").read_bytes())
    assert library.search(tmp_path / "q.wav", k=1)[0].path == "2.wav"


def test_a_query_that_is_a_row_loads_nothing_heavy(sounds):
    code = (
        "import sys\nfrom atst.commands.search import search\n"
        f"search({str(sounds / 'x.parquet')!r}, [{str(sounds / '00.wav')!r}], k=2)\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib', 'usearch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def index(monkeypatch, tmp_path):
    pytest.importorskip("usearch")
    monkeypatch.setenv("ATST_CACHE", str(tmp_path / "cache"))
    return importlib.import_module("atst.library.index")


def test_an_index_is_measured_kept_and_made_again_when_the_library_changes(index, tmp_path, capsys):
    centres = RNG.normal(0, 5, (30, 8))
    vectors = centres[np.arange(600) % 30] + RNG.normal(0, 1, (600, 8))
    path = write(tmp_path / "x.parquet", vectors, group=100)
    exact = [hit.row for hit in Library(path).search("5.wav", k=10)]
    hits = atst.search(path, ["5.wav"], k=10, index=True)
    said = capsys.readouterr().err
    assert "building an index of 600 rows" in said
    assert re.search(
        r"finds (9[5-9]|100)\.\d% of the true 10 nearest of 100 rows \(expansion_search \d+\)", said
    )
    assert len(set(exact) & {hit.row for hit in hits}) >= 9
    values = cosines(vectors, 5)
    np.testing.assert_allclose([hit.similarity for hit in hits], values[[hit.row for hit in hits]], atol=1e-4)
    again = atst.search(path, ["5.wav"], k=10, index=True)
    assert again == hits
    assert "building" not in capsys.readouterr().err
    write(path, vectors[:500], group=100)
    atst.search(path, ["5.wav"], k=10, index=True, per_file=1)
    assert "building an index of 500 rows" in capsys.readouterr().err


def test_the_expansion_grows_until_enough_is_found_or_says_that_it_is_not(
    index, tmp_path, monkeypatch, capsys
):
    vectors = RNG.normal(size=(3000, 256))  # spread out: hard for any index
    path = write(tmp_path / "x.parquet", vectors)
    monkeypatch.setattr(index, "EXPANSION", 1)
    monkeypatch.setattr(index, "ENOUGH", 0.99)
    built = index.Index(Library(path))
    assert built.recall >= 0.99
    assert built.expansion > 1
    monkeypatch.setattr(index, "MOST_EXPANSION", 1)
    path.touch()
    poor = index.Index(Library(path))
    assert poor.recall < 0.99
    assert "even with expansion_search 1, less than 99%" in str(poor)


def test_a_library_of_more_rows_than_the_limit_is_searched_by_index(index, tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "x.parquet", VECTORS)
    command = importlib.import_module("atst.commands.search")
    monkeypatch.setattr(command, "MOST_EXACT", 39)
    atst.search(path, ["5.wav"], k=3)
    assert "of the true 10 nearest of 40 rows" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    assert len(atst.search(path, ["5.wav"], k=3)) == 3
    assert 'pip install "atst-audio[search]"' in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"an index needs another package"):
        atst.search(path, ["5.wav"], index=True)
