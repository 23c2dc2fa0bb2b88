"""Downloads the images that a data YAML points to, after saying what and how large."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ultralytics.utils import ROOT

from yolo_ema.errors import DataError, DataNotFoundError, OfflineError
from yolo_ema.io.archives import is_archive, unpack
from yolo_ema.io.download import fetch, remote_size, shown_url
from yolo_ema.io.text_files import say

# The script is what Ultralytics runs in its own process with exec; here it has one of its own,
# which may use the network.
_RUN_SCRIPT = (
    "import sys, pathlib; exec(sys.stdin.read(), {'yaml': {'path': pathlib.Path(sys.argv[1])}})"
)


def fetch_dataset(
    data_yaml: Path, download: Any, *, into: Path, missing: Path, offline: bool, trust: bool
) -> None:
    """Fetch a dataset by the ``download`` entry of its YAML: the address of an archive, or a
    script.

    An archive is unpacked by this project's own rules: images and text files only, nothing outside
    its folder. A script runs only where it comes with Ultralytics itself, or ``trust`` says so.

    ``into`` is the dataset's root; ``data_yaml`` and what is ``missing`` are for messages.

    Raises:
        DataNotFoundError: there is no such entry.
        DataError: a script is not trusted or failed; an address does not name an archive; an
            archive cannot be fetched, or ``into`` holds something already.
        OfflineError: downloads are forbidden, and nothing else is wrong.
        ArchiveError: the archive is damaged or unsafe.
    """
    if not download:
        raise DataNotFoundError(
            f"{data_yaml}: {missing} does not exist, and no 'download' entry says where to fetch it"
        )
    entry = str(download).strip()
    is_address = entry.lower().startswith(("http://", "https://"))
    if is_address:
        _check_archive(entry, into, data_yaml, missing)
    elif Path(ROOT) not in data_yaml.resolve().parents and not trust:
        raise DataError(
            f"{data_yaml}: {missing} does not exist, and 'download' is a script, which could do "
            f"anything on this machine; "
            "read it, then run the same command with --trust, or fetch the data by hand"
        )
    if offline:
        raise OfflineError(
            f"{data_yaml}: {missing} does not exist, and --offline forbids downloading it"
        )
    if is_address:
        _fetch_archive(entry, into)
    else:
        _run_script(entry, data_yaml, into)


def _archive_name(url: str) -> str:
    return urllib.parse.urlparse(url).path.rsplit("/", maxsplit=1)[-1]


def _check_archive(url: str, into: Path, data_yaml: Path, missing: Path) -> None:
    if not is_archive(Path(_archive_name(url))):
        raise DataError(
            f"{data_yaml}: its download entry {shown_url(url)} does not name an archive; expected "
            f".zip, .tar or a compressed .tar"
        )
    if into.exists() and not (into.is_dir() and not any(into.iterdir())):
        raise DataError(
            f"{data_yaml}: {missing} does not exist, and its archive can't be unpacked to {into}, "
            f"which holds something already; "
            "complete it by hand, or move it away and run the same command again"
        )


def _fetch_archive(url: str, into: Path) -> None:
    """Fetch and unpack, all in a folder of this package's own beside the root; a transfer that
    broke off is kept there for the next call.
    """
    size = remote_size([url])
    how_large = "of unknown size" if size is None else f"{size / 1e6:.1f} MB"
    say(
        f"fetching {shown_url(url)} ({how_large}) into {into}; the YAML states no licence, see its "
        f"publisher's page"
    )
    fetched = into.parent / f".{into.name}.fetched"
    fetched.mkdir(parents=True, exist_ok=True)
    archive = fetched / _archive_name(url)
    fetch([url], archive)
    with _removed(archive), tempfile.TemporaryDirectory(dir=fetched) as folder:
        unpacked = Path(folder) / "content"
        unpack(archive, unpacked)
        inside = list(unpacked.iterdir())
        if into.exists():
            into.rmdir()  # it is empty, see above
        # Most archives hold one folder with the dataset's name.
        (
            inside[0]
            if len(inside) == 1 and inside[0].is_dir() and inside[0].name == into.name
            else unpacked
        ).rename(into)


@contextlib.contextmanager
def _removed(archive: Path) -> Iterator[None]:
    """Remove the fetched archive, and the folder that was made for it, however the block ends."""
    try:
        yield
    finally:
        archive.unlink()
        with contextlib.suppress(OSError):
            archive.parent.rmdir()


def _run_script(script: str, data_yaml: Path, into: Path) -> None:
    say(
        f"running the download script of {data_yaml}, which writes into {into}; how much it "
        f"fetches is not known before, "
        f"and the licence is not stated by the YAML, see its publisher's page:\n{script}"
    )
    into.parent.mkdir(parents=True, exist_ok=True)
    environment: Mapping[str, str] = {
        key: value for key, value in os.environ.items() if key != "YOLO_OFFLINE"
    }
    if script.startswith("bash ") or script.endswith(".sh"):
        command, stdin = ["bash", *script.removeprefix("bash ").split()], ""
    else:
        command, stdin = [sys.executable, "-c", _RUN_SCRIPT, str(into)], script
    done = subprocess.run(  # noqa: S603 - see above
        command, input=stdin, text=True, env=environment, stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise DataError(
            f"the download script of {data_yaml} failed (exit code {done.returncode}); see its "
            f"message above"
        )
