"""Files of one name in several folders find each other by these, wherever they were moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_ema.io.namesakes import counterparts

FOLDERS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("paths", "others", "found"),
    [
        (["a/x.mp4"], ["elsewhere/x.csv"], [["elsewhere/x.csv"]]),
        (["a/x.mp4", "b/x.mp4"], ["b/x.csv"], [[], ["b/x.csv"]]),
        (
            ["a/x.mp4", "b/x.mp4"],
            ["new/b/x.csv", "new/a/x.csv"],
            [["new/a/x.csv"], ["new/b/x.csv"]],
        ),
        (["a/x.mp4", "b/x.mp4"], ["elsewhere/x.csv"], [None, None]),
        (["a/x.mp4"], ["c/x.csv", "d/x.csv"], [None]),
        (["a/1/x.mp4", "b/1/x.mp4"], ["a/1/x.csv"], [["a/1/x.csv"], []]),
        (["a/x.mp4", "./a/x.mov"], ["a/x.csv"], [["a/x.csv"], ["a/x.csv"]]),
        (["a/x.mp4"], [], [None]),
        (
            ["a/x.mp4", "b/x.mp4", "c/x.mp4"],
            ["to/a/x.mp4", "to/b/x.mp4"],
            [["to/a/x.mp4"], ["to/b/x.mp4"], []],
        ),
    ],
)
def test_they_are_told_by_their_folders(paths, others, found):
    assert counterparts(paths, others) == dict(zip(paths, found, strict=True))


def _shared(one: str, two: str) -> int:
    first, second = (path.split("/")[-2::-1] for path in (one, two))
    count = 0
    while count < min(len(first), len(second)) and first[count] == second[count]:
        count += 1
    return count


@given(st.sets(FOLDERS, min_size=1, max_size=5), st.sets(FOLDERS, max_size=5))
def test_it_follows_the_literal_rule(ours, theirs):
    paths, others = (
        [f"/{name}/{folder}/x" for folder in sorted(folders)]
        for name, folders in (("ours", ours), ("theirs", theirs))
    )

    def nearest(path: str, among: list[str]) -> list[str]:
        return [one for one in among if _shared(path, one) == max(_shared(path, p) for p in among)]

    homes = [nearest(other, paths) for other in others]
    others_have_homes = bool(others) and all(len(home) == 1 for home in homes)
    for path, found in counterparts(paths, others).items():
        near = nearest(path, others)
        if len(near) == 1 and nearest(near[0], paths) == [path]:
            assert found == near
        elif len(near) == 1 and len(nearest(near[0], paths)) == 1:
            assert found == []
        else:
            assert found == ([] if others_have_homes and [path] not in homes else None)


def test_a_relative_path_is_of_the_folder_where_the_process_is_now(tmp_path, monkeypatch):
    logs = ["/card/100/a.srt", "/card/101/a.srt"]
    for number, log in zip((100, 101), logs, strict=True):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        assert counterparts(["a.mp4"], logs) == {"a.mp4": [log]}
