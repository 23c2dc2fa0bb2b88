from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from yolo_ema.errors import ArchiveError, DataNotFoundError, DiskFullError
from yolo_ema.io import archives
from yolo_ema.io.archives import Limits, is_archive, unpack
from yolo_ema.io.atomic_files import sha256_of


def _zip(path: Path, entries: dict[str, bytes], *, modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(info, content)
    return path


def _tar(
    path: Path,
    entries: dict[str, bytes],
    *,
    kinds: dict[str, bytes] | None = None,
    mode: str = "w:gz",
) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = (kinds or {}).get(name, tarfile.REGTYPE)
            if info.type in {tarfile.SYMTYPE, tarfile.LNKTYPE}:
                info.linkname, info.size = "/etc/passwd", 0
            archive.addfile(info, io.BytesIO(content))
    return path


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _is_refused(archive: Path, tmp_path: Path, match: str, **more) -> None:
    """Unpacking fails, leaves nothing behind and writes nothing outside."""
    place = tmp_path / "deep" / "place"
    before = _files(tmp_path)
    with pytest.raises(ArchiveError, match=match):
        unpack(archive, place / "into", **more)
    assert _files(tmp_path) == before
    assert not place.exists() or not list(place.iterdir())


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:xz", "w:bz2"])
def test_only_images_and_texts_are_unpacked(tmp_path: Path, mode: str) -> None:
    photo = os.urandom(100_000)
    entries = {
        "D/images/a.jpg": photo,
        "D/annotations/a.txt": b"1,2\n",
        "D/labels.cache": b"x",
        "D/run.py": b"x",
        "D/b.PNG": b"p",
    }
    archive = (
        _zip(tmp_path / "a.zip", entries)
        if mode == "zip"
        else _tar(tmp_path / "a.tar", entries, mode=mode)
    )
    written = []
    assert unpack(archive, tmp_path / "into", advance=written.append) == 3
    assert _files(tmp_path / "into") == {
        "D/images/a.jpg": photo,
        "D/annotations/a.txt": b"1,2\n",
        "D/b.PNG": b"p",
    }
    assert sum(written) == 100_000 + 4 + 1


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("/tmp/evil.txt", "absolute path"),
        ("\\evil.txt", "absolute path"),
        ("C:\\evil.txt", "absolute path"),
        ("c:evil.txt", "absolute path"),
        ("../evil.txt", "leads out"),
        ("images/../../evil.txt", "leads out"),
        ("images\\..\\..\\evil.txt", "leads out"),
        ("../evil.py", "leads out"),
        ("images/a\nb.txt", "control characters"),
    ],
)
@pytest.mark.parametrize("make", [_zip, _tar])
def test_a_name_that_escapes_the_folder_is_refused(
    tmp_path: Path, name: str, match: str, make
) -> None:
    _is_refused(
        make(tmp_path / "a.archive", {"images/good.jpg": b"x", name: b"x"}), tmp_path, match
    )


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_tar_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = _tar(
        tmp_path / "a.tar.gz",
        {"images": b"", "images/a.txt": b""},
        kinds={"images": tarfile.DIRTYPE, "images/a.txt": kind},
    )
    _is_refused(archive, tmp_path, "link or a device")


def test_zip_links_are_refused(tmp_path: Path) -> None:
    archive = _zip(
        tmp_path / "a.zip",
        {"images/a.jpg": b"x", "images/b.txt": b"/etc/passwd"},
        modes={"images/b.txt": 0o120777},
    )
    _is_refused(archive, tmp_path, "link or a device")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("size", [1_000_000, 20_000_000])
def test_a_bomb_is_refused(tmp_path: Path, suffix: str, size: int) -> None:
    entries = {"images/a.jpg": bytes(size)}
    archive = tmp_path / f"a{suffix}"
    _zip(archive, entries) if suffix == ".zip" else _tar(archive, entries, mode=f"w:{suffix[5:]}")
    assert archive.stat().st_size < size / 500
    _is_refused(archive, tmp_path, "more than 200 times")


def test_many_small_bombs_are_refused_together(tmp_path: Path) -> None:
    archive = _zip(
        tmp_path / "a.zip", {f"images/{number}.txt": bytes(60_000) for number in range(400)}
    )
    _is_refused(archive, tmp_path, "its content would unpack", limits=Limits(ratio=50))


def test_limits_on_size_and_number(tmp_path: Path) -> None:
    archive = _zip(
        tmp_path / "a.zip", {f"images/{number}.txt": os.urandom(1000) for number in range(20)}
    )
    _is_refused(archive, tmp_path, "more than 5000 bytes", limits=Limits(total_bytes=5000))
    _is_refused(archive, tmp_path, "more than 19 entries", limits=Limits(members=19))
    assert unpack(archive, tmp_path / "into", limits=Limits(total_bytes=20_000, members=20)) == 20


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"images/a.jpg": os.urandom(5000)})
    content = archive.read_bytes()
    assert content.count((5000).to_bytes(4, "little")) >= 2
    archive.write_bytes(content.replace((5000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    _is_refused(archive, tmp_path, "damaged|refused")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_expands_without_a_bound_is_refused(tmp_path: Path, method: int) -> None:
    """Python unpacks it whole, whatever size the entry declares."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", method) as content:
        content.writestr("images/a.jpg", os.urandom(1000))
    _is_refused(archive, tmp_path, r"is compressed by (bzip2|lzma), .*deflate")


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    _is_refused(_zip(tmp_path / "a.zip", {"a.txt": b"x", "A.TXT": b"y"}), tmp_path, "twice")


def test_a_file_where_a_folder_belongs_is_refused(tmp_path: Path) -> None:
    _is_refused(
        _tar(tmp_path / "a.tar", {"a.txt": b"x", "a.txt/b.txt": b"y"}),
        tmp_path,
        "cannot be a file here",
    )


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_archive_is_damaged(tmp_path: Path, keep: float) -> None:
    for archive in (
        _zip(tmp_path / "a.zip", {"images/a.jpg": os.urandom(50_000)}),
        _tar(tmp_path / "a.tar.gz", {"images/a.jpg": os.urandom(50_000)}),
        _tar(tmp_path / "a.tar.xz", {"images/a.jpg": os.urandom(50_000)}, mode="w:xz"),
    ):
        content = archive.read_bytes()
        archive.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
        _is_refused(archive, tmp_path, "damaged")


def test_a_flipped_bit_is_found_by_the_zips_own_check(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"images/a.jpg": os.urandom(50_000)})
    content = bytearray(archive.read_bytes())
    content[20_000] ^= 1
    archive.write_bytes(content)
    _is_refused(archive, tmp_path, "damaged")


def test_the_hash_must_fit_where_one_is_given(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"images/a.jpg": b"x"})
    _is_refused(archive, tmp_path, "expected 0000", sha256="0" * 64)
    assert unpack(archive, tmp_path / "into", sha256=sha256_of(archive).upper()) == 1


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"images/a.jpg": b"x"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    _is_refused(archive, tmp_path, "encrypted")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"gone\.zip does not exist"):
        unpack(tmp_path / "gone.zip", tmp_path / "into")


def test_too_little_space_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _zip(tmp_path / "a.zip", {"images/a.jpg": os.urandom(5000)})
    usage = archives.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage._replace(free=4999))
    with pytest.raises(DiskFullError, match=r"unpacks to 5000 bytes, and .* has 4999 bytes free"):
        unpack(archive, tmp_path / "place" / "into")
    assert list((tmp_path / "place").iterdir()) == []


def test_what_counts_as_an_archive() -> None:
    assert all(
        is_archive(Path(name))
        for name in ("a.zip", "A.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz")
    )
    assert not any(is_archive(Path(name)) for name in ("a", "a.jpg", "zip", "a.gz"))


@pytest.mark.parametrize("make", [_zip, _tar])
def test_files_a_mac_adds_are_not_unpacked(tmp_path: Path, make) -> None:
    entries = {
        "D/images/a.jpg": b"photo",
        "__MACOSX/D/images/._a.jpg": b"resource fork",
        "D/images/._a.jpg": b"resource fork",
        "D/.DS_Store": b"x",
        "D/.thumbs/a.jpg": b"x",
    }
    assert unpack(make(tmp_path / "a.archive", entries), tmp_path / "into") == 1
    assert _files(tmp_path / "into") == {"D/images/a.jpg": b"photo"}


@pytest.mark.parametrize("make", [_zip, _tar])
def test_a_hidden_entry_that_escapes_the_folder_is_refused_too(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a.archive", {"a.jpg": b"x", "__MACOSX/../../._a.jpg": b"x"})
    _is_refused(archive, tmp_path, "leads out")


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        (
            {"D/val.zip": b"PK", "D/train.tar.gz": b"x"},
            "it holds archives \\(val.zip, train.tar.gz\\)",
        ),
        ({"weights.pt": b"x"}, "contains neither images nor annotations; found weights.pt"),
        ({"__MACOSX/._a.jpg": b"x"}, "found nothing"),
        ({}, "found nothing"),
    ],
)
@pytest.mark.parametrize("make", [_zip, _tar])
def test_an_archive_without_a_dataset_says_what_it_holds(
    tmp_path: Path, make, entries: dict[str, bytes], match: str
) -> None:
    _is_refused(make(tmp_path / "a.archive", entries), tmp_path, match)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (tarfile.GNUTYPE_LONGNAME, bytes(1 << 20)),
        (tarfile.GNUTYPE_LONGLINK, bytes(1 << 20)),
        (tarfile.XHDTYPE, b"999999 comment=" + bytes(1 << 20)),
        (tarfile.XGLTYPE, b"999999 comment=" + bytes(1 << 20)),
    ],
)
@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_headers_are_bounded_before_they_are_read(
    tmp_path: Path, kind: bytes, content: bytes, suffix: str
) -> None:
    info = tarfile.TarInfo("images/a.jpg")
    info.type, info.size = kind, 4 << 30
    with tarfile.open(tmp_path / "a.tar", f"w:{suffix}") as archive:
        archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT) + content)
    _is_refused(tmp_path / "a.tar", tmp_path, "headers of an entry take more than 65536 bytes")


def test_an_endless_sparse_map_is_refused(tmp_path: Path) -> None:
    """Its length comes from the entry's own content, which compresses to almost nothing."""
    with tarfile.open(tmp_path / "a.tar", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("images/a.jpg")
        info.size = 1 << 20
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "images/a.jpg",
            "GNU.sparse.realsize": "1",
        }
        archive.addfile(info, io.BytesIO(b"99999999\n" + b"1\n" * ((1 << 19) - 5) + b"\n"))
    _is_refused(tmp_path / "a.tar", tmp_path, "headers of an entry take more than")


def test_the_marker_is_there_from_the_first_moment(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a.jpg": b"x"})
    seen = []
    unpack(
        archive,
        tmp_path / "into",
        marker=".ours",
        advance=lambda _: seen.extend(tmp_path.glob(".into-*.part/.ours")),
    )
    assert len(seen) == 1
    assert sorted(_files(tmp_path / "into")) == [".ours", "a.jpg"]


def test_an_entry_before_the_beginning_of_the_file_is_damage(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a.jpg": b"x", "b.jpg": b"y"})
    content = bytearray(archive.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    directory = int.from_bytes(content[end + 16 : end + 20], "little")
    content[end + 16 : end + 20] = (directory + 60).to_bytes(4, "little")
    archive.write_bytes(content)
    _is_refused(archive, tmp_path, "is damaged")
