"""Fetches what public servers offer of a task, and unpacks it.

Written from the publishers' pages and tested against a local server, never against the real ones.
"""

import hashlib
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atst.errors import AtstError
from atst.output.progress import track
from atst.tasks.spec import Archive

ARCHIVES = "archives"  # the folder, within the task's, that downloads are kept in
BLOCK = 1 << 20  # bytes
TIMEOUT = 60  # s without an answer


def download(archives: Sequence[Archive], folder: str | Path) -> list[str]:
    """Bring the files of `archives` into `folder`, and unpack those that are archives.

    Files that are there already are not fetched again; interrupted downloads continue. Returns remarks for
    the user. Raises `AtstError` if a server fails, a checksum is wrong, or an archive is damaged or would
    write outside `folder`.
    """
    folder = Path(folder)
    remarks = []
    for archive in archives:
        packed = _kind(archive.name)
        path = (folder / ARCHIVES if packed else folder) / archive.name
        done = _mark(path)
        if done.exists():
            continue
        fetch(archive, path)
        if archive.checksum is None:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            remarks.append(f"{path}: no checksum is published; sha256 {digest}")
        if packed in ("tar", "zip"):
            unpack(path, folder)
            done.touch()
    return remarks


def unfinished(archives: Sequence[Archive], folder: str | Path) -> bool:
    """Whether an archive was fetched but not unpacked completely."""
    paths = [Path(folder) / ARCHIVES / one.name for one in archives if _kind(one.name) in ("tar", "zip")]
    return any(path.exists() and not _mark(path).exists() for path in paths)


def fetch(archive: Archive, path: Path) -> None:
    """Download one file to `path`, unless it is there with the right checksum. Raises `AtstError`.

    Only over https, or with a SHA-256 to check, so that nobody can have changed it on the way.
    """
    if not archive.pinned and not archive.url.startswith("https://") and not path.exists():
        raise AtstError(
            f"{archive.url}: not downloaded, since it comes neither over https nor with a known SHA-256. "
            f"Fetch it by hand, save it as {path}, and run this again."
        )
    try:
        import pooch
        import requests
    except ImportError as error:
        raise AtstError("downloads need pooch: pip install 'atst-audio[data]'") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # our progress says enough
    try:
        downloader = resume(path, archive.pinned)
        pooch.retrieve(archive.url, archive.checksum, path.name, path.parent, downloader=downloader)
    except (requests.RequestException, OSError) as error:
        raise AtstError(f"cannot download {archive.url}: {error}. Run it again to continue.") from error
    except ValueError as error:  # how pooch reports a wrong checksum; it has removed the file
        said = f"{archive.checksum}, {archive.checksum_from}"
        raise AtstError(f"{archive.url}: its checksum is not the expected one ({said}): {error}") from error


def resume(path: Path, pinned: bool) -> Any:
    """A downloader for pooch that continues from `path` + `.part`, where the server still has the same file.

    `pinned`: a checksum is verified, so redirects from https to http are allowed.
    """
    import requests

    part, version = (path.with_name(f"{path.name}.{end}") for end in ("part", "part-version"))

    def downloader(url: str, output: str, pooch: object) -> None:
        start = part.stat().st_size if part.exists() and version.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": version.read_text()}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if not pinned and any(not one.url.startswith("https://") for one in (*answer.history, answer)):
                raise requests.ConnectionError("the server redirects to an address without https")
            range_of_answer = answer.headers.get("Content-Range", "")
            if answer.status_code != requests.codes.requested_range_not_satisfiable:
                answer.raise_for_status()
                goes_on = answer.status_code == requests.codes.partial_content
                if goes_on and not range_of_answer.startswith(f"bytes {start}-"):
                    raise requests.ConnectionError(f"the server sent {range_of_answer}, not from {start} on")
                if not goes_on:
                    _note_version(version, answer.headers)
                _receive(answer, part, start if goes_on else 0, path.name)
            elif range_of_answer not in ("", f"bytes */{start}"):  # else all of it was there
                version.unlink()
                raise requests.ConnectionError("the file on the server has changed")
        part.replace(output)
        version.unlink(missing_ok=True)

    return downloader


def _receive(answer: Any, part: Path, start: int, name: str) -> None:
    """Write an answer's body to `part`, behind the `start` bytes that it keeps."""
    import requests

    total = int(answer.headers.get("Content-Length", 0))
    with part.open("ab" if start else "wb") as stream:
        for block in track(answer.iter_content(BLOCK), f"{name} (MiB)", -(-total // BLOCK) or None):
            stream.write(block)
    got = part.stat().st_size - start
    if total and got < total:
        raise requests.ConnectionError(f"the server stopped after {got} of {total} bytes")


def _note_version(path: Path, headers: Any) -> None:
    """Keep what a later request needs to ask for the rest of the same file; without it, it starts over."""
    tag = headers.get("ETag", "")
    version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    path.unlink(missing_ok=True)
    if version:
        path.write_text(version)


def unpack(path: Path, folder: Path) -> None:
    """Unpack a `.tar.gz` or `.zip` into `folder`, and nowhere else. Raises `AtstError`.

    A `.zip` with `.z01`... beside it is joined first, by the program zip, as FSD50K's page says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if _kind(path.name) == "tar":
            if not hasattr(tarfile, "data_filter"):
                raise AtstError("unpacking a tar safely needs Python 3.11.4 or later")
            with tarfile.open(path) as tar:
                tar.extractall(folder, filter="data")
        elif path.with_suffix(".z01").exists():
            joined = path.with_name(f"{path.stem}.joined.zip")
            try:
                _join(path, joined)
                _unzip(joined, folder)
            finally:
                joined.unlink(missing_ok=True)
        else:
            _unzip(path, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        said = str(error).splitlines()[0].rstrip(":-")  # tarfile lists every format it tried
        raise AtstError(f"cannot unpack {path}: {said}. Remove it and download again.") from error


def _mark(path: Path) -> Path:
    """The empty file that marks an archive as unpacked completely."""
    return path.with_name(f"{path.name}.unpacked")


def _unzip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise AtstError(f"{path} would write outside {folder}: {name}")
        archive.extractall(folder)


def _join(path: Path, joined: Path) -> None:
    """The parts of a split zip as one file."""
    command = ["zip", "-q", "-s", "0", path.name, "--out", joined.name]
    if shutil.which("zip") is None:
        raise AtstError(
            f"{path} is in parts: install the program zip, or run in its folder {' '.join(command)}"
        )
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AtstError(f"cannot join the parts of {path}: {done.stdout.strip() or done.stderr.strip()}")


def _kind(name: str) -> str:
    """`tar`, `zip`, `part` of a split zip, or nothing for a plain file."""
    suffix = name.rsplit(".", 1)[-1]
    if name.endswith((".tar.gz", ".tgz", ".tar")):
        return "tar"
    if suffix == "zip":
        return "zip"
    return "part" if suffix[0] == "z" and suffix[1:].isdecimal() else ""
