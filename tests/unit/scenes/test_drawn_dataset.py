"""The drawn dataset as VisDrone's own reader sees it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.options.data import PrepareOptions
from yolo_ema.scenes import draw_scene, write_dataset
from yolo_ema.scenes.dataset import SPLITS, split_seed
from yolo_ema.visdrone.prepare import prepare


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_dataset(
        tmp_path_factory.mktemp("drawn"), train=4, val=2, image_wh=(320, 192), seed=3
    )


def files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_layout_is_that_of_visdrone(drawn):
    names = set(files(drawn))
    assert len(names) == 12
    for split, count in (("train", 4), ("val", 2)):
        images = {name for name in names if name.startswith(f"VisDrone2019-DET-{split}/images/")}
        assert len(images) == count
        for name in images:
            assert name.replace("/images/", "/annotations/").replace(".jpg", ".txt") in names


def test_the_seed_decides_the_files(drawn, tmp_path):
    again = write_dataset(tmp_path / "again", train=4, val=2, image_wh=(320, 192), seed=3)
    assert files(again) == files(drawn)
    other = write_dataset(tmp_path / "other", train=1, val=0, image_wh=(320, 192), seed=4)
    assert not set(files(other).values()) & set(files(drawn).values())


def test_files_contain_the_scenes(drawn):
    scene = draw_scene(split_seed(3, "val", 1), image_wh=(320, 192))
    name = f"drawn_{split_seed(3, 'val', 1):010d}"
    folder = drawn / "VisDrone2019-DET-val"
    written = np.loadtxt(
        folder / "annotations" / f"{name}.txt", delimiter=",", dtype=np.int64, ndmin=2
    )
    np.testing.assert_array_equal(written, scene.annotations)
    image = cv2.imread(str(folder / "images" / f"{name}.jpg"))
    assert np.abs(image.astype(int) - scene.image_bgr).mean() < 6, "but for JPEG's loss"


def test_prepares_without_anomalies(drawn, tmp_path):
    folders = tuple(drawn / f"VisDrone2019-DET-{split}" for split in SPLITS)
    result = prepare(
        PrepareOptions(
            root=tmp_path / "ready", source=folders, splits=SPLITS, offline=True, strict=True
        )
    )
    assert result.anomalies == []
    assert result.data_yaml.is_file()
    labels = sorted((result.data_yaml.parent / "labels" / "train").glob("*.txt"))
    assert len(labels) == 4
    assert all(path.read_text() for path in labels)


def test_no_two_scenes_share_a_seed():
    seeds = [
        split_seed(seed, split, index)
        for seed in range(3)
        for split in SPLITS
        for index in (0, 1, 999_999)
    ]
    assert len(set(seeds)) == len(seeds)


def test_a_wrong_count_is_named(tmp_path):
    with pytest.raises(ConfigError, match="val is -1"):
        write_dataset(tmp_path, train=1, val=-1)
    assert not any(tmp_path.iterdir()), "nothing is written before all is checked"
