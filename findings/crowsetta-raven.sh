#!/usr/bin/env bash
# crowsetta reads valid Raven selection tables silently wrong: a selection that Raven saved with a row for the
# waveform view and one for the spectrogram view becomes two annotations, and a label "01" becomes "1".
# Labels "None" and "NA" are refused as nulls. Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check crowsetta==5.1.2 pandas==3.1.1 pandera==0.35.0
"$folder/venv/bin/python" - "$folder" <<'PY'
import importlib.metadata, pathlib, sys, warnings

warnings.simplefilter("ignore")
import crowsetta

HEAD = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
ROW = "1\t{view} 1\t1\t1.0\t2.0\t500.0\t900.0\t{label}\n"
path = pathlib.Path(sys.argv[1], "a.Table.1.selections.txt")


def read(*rows):
    path.write_text(HEAD + "".join(rows))
    try:
        table = crowsetta.formats.by_name("raven").from_file(path, annot_col="Species")
        return [(float(box.onset), float(box.offset), box.label) for box in table.to_annot().bboxes]
    except Exception as error:
        return type(error).__name__


print("crowsetta", importlib.metadata.version("crowsetta"), "pandas", importlib.metadata.version("pandas"))
views = read(ROW.format(view="Waveform", label="owl"), ROW.format(view="Spectrogram", label="owl"))
zero = read(ROW.format(view="Spectrogram", label="01"))
none = read(ROW.format(view="Spectrogram", label="None"))
print("one selection in two views ->", views)
print("label '01'                 ->", zero)
print("label 'None'               ->", none)
expected = ([(1.0, 2.0, "owl")] * 2, [(1.0, 2.0, "1")], "SchemaError")
sys.exit((views, zero, none) != expected)
PY
