"""Whatever a COCO file contains: it is prepared, with what is odd named, or refused by one of our
errors; and what was prepared is up to date.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from yolo_ema.errors import YoloEmaError
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.prepare import prepare

CONTENT: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 200, "height": 100},
        {"id": 2, "file_name": "b.jpg"},
    ],
    "annotations": [
        {"id": n, "image_id": n % 2 + 1, "category_id": n % 2 + 1, "bbox": [1, 2, 30, 40]}
        | {"iscrowd": 0, "segmentation": [[1, 2, 3, 4, 5, 6]]}
        for n in range(4)
    ],
    "categories": [
        {"id": 1, "name": "car", "supercategory": "vehicle"},
        {"id": 2, "name": "bus"},
    ],
}
ODD = [
    *(None, True, False, 0, -1, 1, 2, 1.0, 1.5, 1e400, float("nan"), 10**400),
    *("", "1", "x", "\ud800", "a\nb", "é" * 300, ".", "..", "/", "a/../b", "C:\\x", "0", "1e5"),
    *([], {}, [1], {"id": 1}, [0, 0, 10, 10], [[1, 2, 3, 4, 5, 6]], ["a"] * 4, "a.jpg", "b.jpg"),
]


def places(content: Any, place: tuple = ()) -> Iterator[tuple]:
    """Every place in a JSON document, as the keys that lead there."""
    if place:
        yield place
    for key in content if isinstance(content, dict) else range(len(content)):
        if isinstance(content[key], dict | list):
            yield from places(content[key], (*place, key))
        else:
            yield (*place, key)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (200, 100)).save(folder / name)
    return folder


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from(list(places(CONTENT))), st.sampled_from(ODD)),
        min_size=1,
        max_size=4,
    )
)
def test_odd_entries_are_named_or_refused(photos: Path, changes: list[tuple[tuple, Any]]) -> None:
    content = copy.deepcopy(CONTENT)
    for (*above, last), value in changes:
        around: Any = content
        try:
            for key in above:
                around = around[key]
            around[last] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):  # an earlier change has removed the place
            continue
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.json")
        file.write_text(json.dumps(content))
        options = PrepareOptions(
            dataset="coco", root=Path(folder, "root"), annotations=(file,), images=(photos,)
        )
        try:
            result = prepare(options)
        except YoloEmaError:
            assert not Path(folder, "root").exists()
            return
        assert result.as_text().encode("utf-8")
        assert json.dumps(result.as_json(), allow_nan=False)
        split = result.record.splits["train"]
        assert sum(split.boxes_per_class) > 0 or not content["annotations"]
        left_out = sum(result.as_json()["splits"]["train"]["images_left_out"].values())
        assert split.images + left_out == len(content["images"]) - sum(
            one.count for one in split.anomalies if one.kind == "repeated-image"
        )
        assert prepare(options).up_to_date
