"""What is released installs and works by itself."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, **how: object) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.check_output(list(map(str, command)), env=environment, text=True, **how)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, built from a copy."""
    copy, out = tmp_path_factory.mktemp("copy") / "atst", tmp_path_factory.mktemp("dist")
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(
        ROOT / "src" / "atst", copy / "src" / "atst", ignore=shutil.ignore_patterns("__pycache__")
    )
    build = (
        f"from setuptools import build_meta as b; b.build_sdist({str(out)!r}); b.build_wheel({str(out)!r})"
    )
    run(sys.executable, "-c", build, cwd=copy, stderr=subprocess.DEVNULL)
    return out


@pytest.mark.full
def test_wheel_and_sdist_hold_every_file_of_the_package(built: Path) -> None:
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "atst").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    print(f"wheel {wheel.stat().st_size / 1024:.0f} KiB, sdist {sdist.stat().st_size / 1024:.0f} KiB")
    with zipfile.ZipFile(wheel) as archive:
        assert sources == {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        names = {name.split("/src/", 1)[1] for name in archive.getnames() if "/src/" in name}
    assert sources <= names


@pytest.mark.full
def test_the_wheel_works_in_an_environment_of_its_own(built: Path, tmp_path: Path) -> None:
    """The dependencies are this environment's, by a .pth file; atst is the wheel's."""
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    where = run(python, "-c", "import atst; print(atst.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(site)
    command = environment / "bin" / "atst"
    assert run(command, "--version").strip() == f"atst {atst.__version__}"
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    run(command, "embed", "a.wav", "--model", "random:nano", "--out", "a.parquet", "-q", cwd=tmp_path)
    assert len(pq.read_table(tmp_path / "a.parquet")["embedding"][0]) == 256
    assert "nano" in run(command, "pretrain", "--help", cwd=tmp_path)
