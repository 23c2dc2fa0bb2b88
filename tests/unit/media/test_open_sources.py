"""What a user can name as a source."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from yolo_ema.errors import ConfigError, SourceError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.open_sources import find_sources, open_sources
from yolo_ema.media.sources.source_reader import SourceReader


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize("name", ["list.txt", "LIST.STREAMS"])
def test_a_list_names_sources_in_its_order(folder, name):
    lines = [
        "# the flight",
        "sub/b.png",
        "",
        "  a.jpg  ",
        "rtsp://u:p@cam/live",
        "0",
        "sub",
        str(folder / "a.jpg"),
    ]
    (folder / name).write_text("\n".join(lines), encoding="utf-8-sig")
    found = open_sources([str(folder / name)])
    assert [one.name for one in found] == [
        str(folder / "sub/b.png"),
        str(folder / "a.jpg"),
        "rtsp://cam/live",
        "camera 0",
    ]


def test_mistakes_in_a_list_are_named_with_their_line(folder):
    (folder / "list.txt").write_text("c.jpg\n")
    with pytest.raises(
        SourceError,
        match=r"list\.txt, line 1: no file or folder at .*c\.jpg; did you mean 'a\.jpg'",
    ):
        open_sources([str(folder / "list.txt")])
    (folder / "list.txt").write_text("rtsp://u:geheim@cam:port/x\n")
    with pytest.raises(SourceError, match=r"line 1: the rtsp:// address cannot be used") as caught:
        open_sources([str(folder / "list.txt")])
    assert "geheim" not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"# nothing\n\n", "names no source"), (b"\xff\xfe\x00x", "not UTF-8")]
)
def test_a_list_without_sources_is_an_error(folder, content, reason):
    (folder / "list.txt").write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        open_sources([str(folder / "list.txt")])


def test_a_list_in_a_list_is_refused(folder):
    (folder / "inner.txt").write_text("a.jpg\n")
    (folder / "outer.txt").write_text("inner.txt\n")
    with pytest.raises(SourceError, match=r"outer\.txt, line 1: .*neither an image nor a video"):
        open_sources([str(folder / "outer.txt")])


def test_files_cameras_and_addresses_go_together(folder):
    found = open_sources([str(folder), "1", "http://cam/video.mjpg", str(folder / "a.jpg"), "1"])
    assert [one.is_live for one in found] == [False, False, True, True]


def test_names_with_odd_characters_are_files_if_they_exist(folder):
    (folder / "sub/b.png").rename(folder / "50% [x] #1 ä.png")
    assert [one.stem for one in open_sources([str(folder / "50% [x] #1 ä.png")])] == [
        "50% [x] #1 ä"
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"open_timeout_s": 0},
        {"read_timeout_s": -1},
        {"open_tries": 0},
        {"give_up_after_s": 0},
        {"rtsp_transport": "tpc"},
        {"stale_after_s": float("nan")},
    ],
)
def test_impossible_patience_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        NetworkOptions(**wrong)


@pytest.fixture
def mixed_folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    with VideoWriter(tmp_path / "v.mp4", frame_rate=Fraction(10), image_wh=(16, 16)) as writer:
        for _ in range(3):
            writer.write(np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "notes.md").write_text("x")
    return tmp_path


def test_a_folder_gives_its_images_and_videos_sorted(mixed_folder):
    assert [one.path.name for one in open_sources([str(mixed_folder)])] == [
        "a.PNG",
        "b.jpg",
        "c.jpg",
        "v.mp4",
    ]


def test_patterns_and_repeated_names(mixed_folder):
    found = open_sources(
        [str(mixed_folder / "*.jpg"), str(mixed_folder / "b.jpg"), str(mixed_folder / "**/c.*")]
    )
    assert [one.path.name for one in found] == ["b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.jpg", "no file or folder"),
        ("b.jgp", r"did you mean 'b\.jpg'"),
        ("*.gif", "matches no image"),
        ("notes.md", "neither"),
    ],
)
def test_missing_sources_are_named(mixed_folder, name, reason):
    with pytest.raises(SourceError, match=reason):
        open_sources([str(mixed_folder / name)])


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="contains no image"):
        open_sources([str(tmp_path)])


def test_an_unusable_name_fails_alone(mixed_folder):
    (mixed_folder / "empty").mkdir()
    (mixed_folder / "list.txt").write_text("b.jpg\nnix.jpg\n")
    (mixed_folder / "none.txt").write_text("# nothing\n")
    reasons = {
        "empty": "contains no image or video",
        "*.gif": "matches no image",
        "nix.mp4": "no file or folder",
        "notes.md": "neither an image nor a video",
        "none.txt": "names no source",
        "list.txt": r"list\.txt, line 2: no file or folder at .*nix\.jpg",
    }
    names = [str(mixed_folder / name) for name in reasons]
    failing = []
    for source in open_sources([names[0], str(mixed_folder / "b.jpg"), *names[1:]]):
        try:
            assert len(list(source.open())) == 1
        except SourceError as error:
            failing.append(str(error))
    assert len(failing) == len(reasons)
    for reason, problem in zip(reasons.values(), failing, strict=True):
        assert re.search(reason, problem)
    with pytest.raises(SourceError, match=r"empty contains no .*; the pattern .* matches no"):
        open_sources(names[:2])


def test_frames_carry_source_index_and_time(mixed_folder):
    image, video = open_sources([str(mixed_folder / "b.jpg"), str(mixed_folder / "v.mp4")])
    assert [(frame.index, frame.time_s) for frame in image.open()] == [(0, 0.0)]
    assert [(frame.index, round(frame.time_s, 3)) for frame in video.open()] == [
        (0, 0.0),
        (1, 0.1),
        (2, 0.2),
    ]
    assert next(iter(video.open())).source == str(mixed_folder / "v.mp4")


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def jpeg(path):
    return put(path, cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())


def names_in(root, found) -> list[str]:
    return [str(source.path.relative_to(root)) for source in found.sources]


def left_out(found) -> dict[str, int]:
    return {one.reason: one.count for one in found.left_out}


def test_hidden_and_system_files_are_skipped_and_counted(tmp_path):
    for name in (
        *("fly/a.jpg", "fly/._a.jpg", "fly/.thumbs/a.jpg", "fly/.ipynb_checkpoints/a-1.jpg"),
        *("fly/__MACOSX/._a.jpg", "fly/@eaDir/a.jpg/SYNOPHOTO.jpg", "fly/sub/b.jpg"),
        *("fly/.DS_Store", "fly/sub/Thumbs.db", "fly/$RECYCLE.BIN/old.jpg"),
    ):
        jpeg(tmp_path / name)
    for given in ("fly", "fly/**/*.jpg"):
        found = find_sources([str(tmp_path / given)])
        assert names_in(tmp_path, found) == ["fly/a.jpg", "fly/sub/b.jpg"]
    assert left_out(find_sources([str(tmp_path / "fly")])) == {
        "hidden, or files of an operating system": 6
    }
    (named,) = open_sources([str(tmp_path / "fly/._a.jpg")])
    assert named.name.endswith("._a.jpg"), "what is named is read"
    (matched,) = open_sources([str(tmp_path / "fly/._*.jpg")])
    assert matched == named


def test_a_sequence_counts_no_hidden_files(tmp_path):
    for number in (1, 2, 3):
        jpeg(tmp_path / f"fly/DJI_{number:04d}.JPG")
        jpeg(tmp_path / f"fly/._DJI_{number:04d}.JPG")
    (sequence,) = open_sources([str(tmp_path / "fly")], sequence_rate=Fraction(30))
    assert [frame.index for frame in sequence.open()] == [0, 1, 2]


def test_files_in_a_folder_that_are_not_read_are_reported_by_kind(tmp_path):
    for name in ("a.jpg", "a.txt", "b.txt", "c.heic", "noext", "sub/d.srt"):
        put(tmp_path / "fly" / name)
    (told,) = find_sources([str(tmp_path / "fly")]).left_out
    assert str(told).startswith(f"{tmp_path}/fly: 5 left out: neither image nor video (2 .txt, 1 ")
    assert set(told.reason.partition("(")[2].strip(")").split(", ")) == {
        *("2 .txt", "1 .heic", "1 without a suffix", "1 .srt"),
    }
    (tmp_path / "fly/a.jpg").unlink()
    with pytest.raises(SourceError, match=r"contains no image or video; it holds 2 \.txt"):
        open_sources([str(tmp_path / "fly")])


def test_links_to_folders_are_followed_once_and_loops_end(tmp_path):
    jpeg(tmp_path / "real/a.jpg")
    jpeg(tmp_path / "fly/b.jpg")
    (tmp_path / "fly/one").symlink_to(tmp_path / "real")
    (tmp_path / "fly/two").symlink_to(tmp_path / "real")
    (tmp_path / "fly/self").symlink_to(".")
    (tmp_path / "fly/up").symlink_to("..")
    (tmp_path / "real/back").symlink_to(tmp_path / "fly")
    (tmp_path / "fly/gone.jpg").symlink_to("nowhere.jpg")
    for given in ("fly", "fly/**/*.jpg", "fly/**"):
        found = find_sources([str(tmp_path / given)])
        assert sorted(source.path.name for source in found.sources) == ["a.jpg", "b.jpg"]
    assert left_out(find_sources([str(tmp_path / "fly")])) == {"links that lead nowhere": 1}


def test_one_file_under_several_names_counts_once(tmp_path, monkeypatch):
    jpeg(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "here").symlink_to(".")
    monkeypatch.chdir(tmp_path)
    given = ["a.jpg", "./a.jpg", str(tmp_path / "a.jpg"), "link.jpg", "here/a.jpg", "*.jpg", "."]
    assert [source.name for source in open_sources(given)] == ["a.jpg"]


def test_an_inaccessible_folder_fails_by_its_name(tmp_path, monkeypatch):
    jpeg(tmp_path / "fly/a.jpg")
    jpeg(tmp_path / "fly/locked/b.jpg")
    scandir = os.scandir

    def refuses(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuses)
    image, locked = open_sources([str(tmp_path / "fly")])
    assert image.name.endswith("a.jpg")
    with pytest.raises(SourceError, match="locked cannot be read: permission denied"):
        locked.open()
    with SourceReader([image, locked]) as reader:
        ends = [event.problem for event in reader if event.ended]
    assert ends[0] == ""
    assert "permission denied" in ends[1]


def refusing(monkeypatch, module, name: str, ending: str) -> None:
    """Let a function of ``module`` refuse paths that end so, as the system does without rights."""
    real = getattr(module, name)

    def refuses(path, *rest, **named):
        if str(path).endswith(ending):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(module, name, refuses)


def problems_of(names: list[str]) -> list[str]:
    """Return the problem of each source; "" if it opens."""
    told = []
    for source in open_sources(names):
        try:
            source.open()
        except SourceError as error:
            told.append(str(error))
        else:
            told.append("")
    return told


def test_a_tilde_that_is_no_home_folder_is_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("~f0.jpg", "~/a.jpg", "home/b.jpg", "home/sub/c.jpg", "~nouser/d.jpg", "e.jpg"):
        jpeg(tmp_path / name)
    lines = ["~f0.jpg", "~/a.jpg", "~nouser/*.jpg", "~f*.jpg", "~nobody-here/*.mp4", "~gone.jpg"]
    (tmp_path / "list.txt").write_text("\n".join([*lines, "e.jpg"]))
    told = problems_of([str(tmp_path / "list.txt")])
    assert [bool(problem) for problem in told] == [False] * 3 + [True] * 2 + [False]
    assert "line 5: the pattern '~nobody-here/*.mp4' matches no" in told[3]
    assert "line 6: no file or folder at" in told[4]
    (tmp_path / "~" / "a.jpg").unlink()
    (tmp_path / "~").rmdir()
    (tmp_path / "list.txt").write_text("~/b.jpg\n~/sub/*.jpg")
    found = find_sources([str(tmp_path / "list.txt")])
    assert names_in(tmp_path, found) == ["home/b.jpg", "home/sub/c.jpg"]


def test_a_pattern_that_resembles_an_address_is_one_where_files_match(tmp_path, monkeypatch):
    jpeg(tmp_path / "10:30@north.jpg")
    monkeypatch.chdir(tmp_path)
    assert [source.name for source in open_sources(["10:*@*.jpg"])] == ["10:30@north.jpg"]
    with pytest.raises(SourceError) as caught:
        open_sources(["11:*@*.jpg"])
    assert "11:" not in str(caught.value)


def test_a_name_in_a_folder_that_may_not_be_listed_fails_alone(tmp_path, monkeypatch):
    jpeg(tmp_path / "a.jpg")
    jpeg(tmp_path / "locked/b.jpg")
    refusing(monkeypatch, os, "listdir", "locked")
    told = problems_of([str(tmp_path / "locked/c.jpg"), str(tmp_path / "a.jpg")])
    assert told[0].endswith("no file or folder at " + str(tmp_path / "locked/c.jpg"))
    assert told[1] == ""


def test_a_file_that_the_system_does_not_show_is_not_called_missing(tmp_path):
    jpeg(tmp_path / "a.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    told = problems_of([str(tmp_path / "loop.jpg"), str(tmp_path / "a.jpg")])
    assert "loop.jpg cannot be read: too many levels of symbolic links" in told[0]
    assert told[1] == ""


def test_a_list_that_may_not_be_read_fails_alone(tmp_path, monkeypatch):
    jpeg(tmp_path / "a.jpg")
    (tmp_path / "list.txt").write_text("a.jpg")
    refusing(monkeypatch, Path, "read_text", "list.txt")
    told = problems_of([str(tmp_path / "list.txt"), str(tmp_path / "a.jpg")])
    assert told == [f"{tmp_path / 'list.txt'} cannot be read: permission denied", ""]


@pytest.mark.parametrize("hidden", [True, False])
def test_a_link_to_itself_ends_no_folder(tmp_path, hidden):
    jpeg(tmp_path / "fly/a.jpg")
    name = ".loop" if hidden else "loop"
    (tmp_path / "fly" / name).symlink_to(name)
    for given in ("fly", "fly/*", "fly/**/*.jpg", "fly/.*"):
        found = open_sources([str(tmp_path / given), str(tmp_path / "fly/a.jpg")])
        assert [source.name for source in found if source.stem == "a"] == [
            str(tmp_path / "fly/a.jpg")
        ]


def test_an_entry_that_the_system_does_not_show_is_reported(tmp_path, monkeypatch):
    """As on file systems that list names without kinds, in a folder that may not be entered."""
    jpeg(tmp_path / "fly/a.jpg")
    jpeg(tmp_path / "fly/b.jpg")
    jpeg(tmp_path / "fly/.c.jpg")

    class Entry:
        def __init__(self, entry: os.DirEntry) -> None:
            self.name, self.path = entry.name, entry.path
            self._entry = entry

        def is_dir(self) -> bool:
            if "a" not in self.name:
                raise PermissionError(13, "Permission denied", self.path)
            return self._entry.is_dir()

        def is_file(self) -> bool:
            return self._entry.is_file()

        def is_symlink(self) -> bool:
            return False

    class Listing(list):
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to close."""

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Listing(map(Entry, scandir(path))))
    found = find_sources([str(tmp_path / "fly")])
    assert [source.name.rpartition("/")[2] for source in found.sources] == ["a.jpg", "b.jpg"]
    with pytest.raises(SourceError, match=r"b\.jpg cannot be read: permission denied"):
        found.sources[1].open()
    assert left_out(found) == {"hidden, or files of an operating system": 1}


def test_every_kind_that_the_decoders_read_is_found(tmp_path):
    clip = tmp_path / "clip.mp4"
    with VideoWriter(clip, frame_rate=Fraction(10), image_wh=(16, 16)) as writer:
        for _ in range(3):
            writer.write(np.zeros((16, 16, 3), np.uint8))
    for suffix in (".mts", ".3gp", ".m2ts", ".MTS"):
        put(tmp_path / f"fly/v{suffix}{suffix}", clip.read_bytes())
    whole = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    for suffix in (".jfif", ".jpe", ".mpo", ".JPG"):
        put(tmp_path / f"fly/i{suffix}", whole)
    for suffix in (".avif", ".dib", ".ppm", ".pgm"):
        grey = np.full((8, 8), 90, np.uint8)
        image = grey if suffix == ".pgm" else cv2.merge([grey] * 3)
        put(tmp_path / f"fly/j{suffix}", cv2.imencode(suffix, image)[1].tobytes())
    frames = [np.full((8, 8, 3), level, np.uint8) for level in (0, 100, 200)]
    assert cv2.imwritemulti(str(tmp_path / "fly/anim.gif"), frames)
    found = find_sources([str(tmp_path / "fly")])
    assert found.left_out == ()
    counts = {source.path.name: len(list(source.open())) for source in found.sources}
    assert len(counts) == 13
    assert counts.pop("anim.gif") == 3
    assert {count for name, count in counts.items() if name.startswith("v")} == {3}
    assert {count for name, count in counts.items() if name[0] in "ij"} == {1}


@pytest.mark.parametrize("digits", ["20240501", "0"])
def test_a_folder_of_digits_is_a_folder(tmp_path, monkeypatch, digits):
    jpeg(tmp_path / digits / "a.jpg")
    (tmp_path / "list.txt").write_text(f"./{digits}\n")
    monkeypatch.chdir(tmp_path)
    for given in (digits, f"./{digits}", "list.txt"):
        (source,) = open_sources([given])
        assert source.name == f"{digits}/a.jpg"
    assert open_sources(["7"])[0].name == "camera 7"


def test_brackets_in_the_folder_of_a_list_are_not_a_pattern(tmp_path):
    jpeg(tmp_path / "fl[1]/a.jpg")
    jpeg(tmp_path / "fl[1]/b.jpg")
    jpeg(tmp_path / "fl1/c.jpg")
    (tmp_path / "fl[1]/list.txt").write_text("b.jpg\n*.jpg\n")
    found = open_sources([str(tmp_path / "fl[1]/list.txt")])
    assert [source.path.name for source in found] == ["b.jpg", "a.jpg"]


def test_a_comment_after_a_name_in_a_list_is_a_comment_unless_it_is_a_name(tmp_path):
    jpeg(tmp_path / "a.jpg")
    jpeg(tmp_path / "b.jpg #2.jpg")
    (tmp_path / "list.txt").write_text(
        "a.jpg   # left camera\nb.jpg #2.jpg\nrtsp://cam/x#y  # roof\n0\t# front\n"
    )
    found = open_sources([str(tmp_path / "list.txt")])
    assert [source.stem for source in found] == ["a", "b.jpg #2", "cam-x", "camera-0"]


@pytest.mark.parametrize("given", ["a\0.jpg", "a" * 5000, "a" * 5000 + "/*.jpg"])
def test_impossible_names_are_plain_errors(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError):
        open_sources([given])
    (tmp_path / "list.txt").write_text(f"{given}\n")
    with pytest.raises(SourceError, match="line 1"):
        open_sources(["list.txt"])


def test_a_named_pipe_is_read_as_a_video(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", frame_rate=Fraction(10), image_wh=(16, 16)) as writer:
        for _ in range(5):
            writer.write(np.zeros((16, 16, 3), np.uint8))
    with av.open(str(tmp_path / "v.mp4")) as source, av.open(str(tmp_path / "v.ts"), "w") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    pipe = tmp_path / "camera.pipe"
    os.mkfifo(pipe)
    content = (tmp_path / "v.ts").read_bytes()
    writes = threading.Thread(target=lambda: pipe.write_bytes(content))
    writes.start()
    (source,) = open_sources([str(pipe)])
    assert (source.is_video, source.is_live, source.stem) == (True, False, "camera")
    assert len(list(source.open())) == 5
    writes.join()


def test_standard_input_is_read_as_a_video(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", frame_rate=Fraction(10), image_wh=(16, 16)) as writer:
        for _ in range(5):
            writer.write(np.zeros((16, 16, 3), np.uint8))
    with av.open(str(tmp_path / "v.mp4")) as source, av.open(str(tmp_path / "v.mkv"), "w") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    code = (
        "from yolo_ema.media.sources.open_sources import open_sources\n"
        "(source,) = open_sources(['-', '-'])\n"
        "print(source.name, source.stem, len(list(source.open())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=(tmp_path / "v.mkv").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"-", b"stdin", b"5"]
