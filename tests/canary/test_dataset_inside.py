"""What the dataset and the transforms assume about Ultralytics' inside; each test is named after
the assumption.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from ultralytics.cfg import DEFAULT_CFG_DICT, get_cfg
from ultralytics.data.augment import (
    Albumentations,
    Compose,
    CopyPaste,
    CutMix,
    Format,
    LetterBox,
    MixUp,
    Mosaic,
    RandomFlip,
    RandomHSV,
    RandomPerspective,
    v8_transforms,
)
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import img2label_paths

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported


@pytest.fixture
def plain(tmp_path: Path) -> YOLODataset:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.full((40, 40, 3), 60, np.uint8))
        (tmp_path / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    args = get_cfg(overrides={"task": "detect", "imgsz": 64})
    return YOLODataset(
        str(tmp_path / "images"),
        imgsz=64,
        augment=True,
        hyp=args,
        data={"names": {0: "a"}},
        task="detect",
    )


def hyp(**settings):
    return get_cfg(overrides={"task": "detect", **settings})


def test_the_training_pipeline_has_these_steps_in_this_order(plain):
    steps = plain.build_transforms(hyp()).transforms
    kinds = [type(step) for step in steps]
    assert kinds == [
        Compose,
        MixUp,
        CutMix,
        Albumentations,
        RandomHSV,
        RandomFlip,
        RandomFlip,
        Format,
    ]
    assert [type(step) for step in steps[0].transforms] == [Mosaic, CopyPaste, RandomPerspective]
    other = v8_transforms(plain, 64, hyp(copy_paste_mode="mixup")).transforms[0].transforms
    assert [type(step) for step in other] == [Mosaic, RandomPerspective, CopyPaste]
    assert [type(step) for step in other[2].pre_transform.transforms] == [Mosaic, RandomPerspective]


def test_mixing_reuses_the_first_step_itself(plain):
    steps = plain.build_transforms(hyp()).transforms
    assert steps[1].pre_transform is steps[0]
    assert steps[2].pre_transform is steps[0]


def test_the_validation_pipeline_is_letterbox_and_format(plain):
    plain.augment = False
    assert [type(step) for step in plain.build_transforms(hyp()).transforms] == [LetterBox, Format]


def test_perspective_drops_what_is_clipped_to_a_tenth():
    whole = np.array([[0.0, 0, 100, 100]]).T
    assert RandomPerspective.box_candidates(whole, np.array([[0.0, 0, 11, 100]]).T).all()
    assert not RandomPerspective.box_candidates(whole, np.array([[0.0, 0, 9, 100]]).T).any()


def test_perspective_is_given_its_matrix_scale_and_sizes_by_get_params():
    params = RandomPerspective(size=(50, 40)).get_params({"img": np.zeros((30, 60, 3), np.uint8)})
    assert set(params) == {"M", "scale", "orig_shape", "size"}
    assert params["size"] == (50, 40)
    assert params["orig_shape"] == (30, 60)


def test_cutmix_names_its_patch_and_the_instances_that_come_along(plain, monkeypatch):
    def in_pixels(sample: dict) -> dict:
        sample["instances"].convert_bbox("xyxy")
        sample["instances"].denormalize(64, 64)
        return sample

    def params(sample: dict, *patch: int) -> dict:
        cutmix = CutMix(plain, pre_transform=in_pixels, p=1.0)
        monkeypatch.setattr(cutmix, "_rand_bbox", lambda width, height: patch)
        monkeypatch.setattr(cutmix, "get_indexes", lambda: 2)
        return cutmix.get_params(sample)

    sample = in_pixels(plain.get_image_and_label(0))
    assert params(sample, 0, 0, 64, 64)["skip"], "the patch covers a box of the image"
    assert params(sample, 0, 0, 20, 20)["skip"], "no box comes along"
    sample["instances"].bboxes[:] = [60, 60, 64, 64]
    mixed = params(sample, 16, 16, 48, 48)
    assert "skip" not in mixed
    assert mixed["area"].tolist() == [16, 16, 48, 48]
    assert mixed["indexes2"].tolist() == [0]
    assert [other["im_file"][-5:] for other in sample["mix_labels"]] == ["2.png"]


def test_format_makes_tensors_from_params_of_its_own(plain):
    sample = plain.get_image_and_label(0)
    params = Format().get_params(sample)
    assert set(params) == {"h", "w", "cls", "instances", "nl"}


def test_an_albumentations_step_that_cannot_be_built_is_left_out_silently():
    assert Albumentations(transforms=["no transform"]).transform is None


def test_closing_the_mosaic_rebuilds_the_pipeline(plain, monkeypatch):
    monkeypatch.setattr(plain, "build_transforms", lambda hyp: f"anew, mosaic {hyp.mosaic}")
    plain.close_mosaic(hyp(mosaic=1.0))
    assert plain.transforms == "anew, mosaic 0.0"


def test_names_of_cached_images_are_set_once_after_the_labels_and_before_they_are_used(plain):
    steps: list[str] = []

    class Noting(YOLODataset):
        def __setattr__(self, name, value):
            if name in {"labels", "npy_files"}:
                steps.append(name)
            super().__setattr__(name, value)

        def set_rectangle(self):
            super().set_rectangle()
            steps.append("sorted")

        def check_cache_ram(self, **settings):
            return True

        def cache_images(self):
            steps.append("used")

    Noting(
        plain.img_path,
        imgsz=64,
        cache="ram",
        rect=True,
        hyp=hyp(),
        data={"names": {0: "a"}},
        task="detect",
    )
    assert steps[-3:] == ["sorted", "npy_files", "used"], "names follow the order of the labels"
    assert steps.count("npy_files") == 1
    assert "labels" in steps[: steps.index("sorted")]


def test_images_of_a_mosaic_are_read_through_the_dataset(plain, monkeypatch):
    read, own = [], plain.get_image_and_label

    def get_image_and_label(index):
        read.append(index)
        return own(index)

    sample = own(0)
    monkeypatch.setattr(plain, "get_image_and_label", get_image_and_label)
    mixed = Mosaic(plain, imgsz=64, p=1.0).get_params(sample)["mix_labels"]
    assert len(read) == len(mixed) == 3


def test_images_lie_in_the_buffer_under_these_names(plain):
    plain.max_buffer_length = 2
    plain.load_image(0)
    assert plain.ims[0].shape == (64, 64, 3)
    assert (plain.im_hw0[0], plain.im_hw[0]) == ((40, 40), (64, 64))
    assert plain.buffer == [0]
    plain.load_image(1)
    assert plain.buffer == [1]
    assert (plain.ims[0], plain.im_hw0[0], plain.im_hw[0]) == (None, None, None)


def test_its_own_dataset_unpickles_a_cache_beside_the_labels(plain, tmp_path):
    """The reason for a reader of our own; when this ends, it may be simplified."""
    cache = tmp_path / "labels.cache"
    assert cache.is_file(), "and writes one there"

    class Bomb:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "executed", "boom"))

    cache.write_bytes(pickle.dumps(Bomb()))
    YOLODataset(
        str(tmp_path / "images"), imgsz=64, hyp=hyp(), data={"names": {0: "a"}}, task="detect"
    )
    assert (tmp_path / "executed").is_file()


def test_labels_lie_beside_images_by_folder():
    assert img2label_paths(["/a/images/b/images/c.jpg"]) == ["/a/images/b/labels/c.txt"]
    assert img2label_paths(["/a/images/c.jpg"], label_dir="ignored") == ["/a/ignored/c.txt"]
    assert img2label_paths(["/a/b/c.jpg"], label_dir="ignored") == ["/a/b/c.txt"]


def test_class_weights_come_from_cls_pw_and_the_datasets_labels():
    from ultralytics.models.yolo.detect import DetectionTrainer

    assert DEFAULT_CFG_DICT["cls_pw"] == 0.0
    labels = [{"cls": np.array([[0.0], [0.0], [1.0]])}]
    trainer = SimpleNamespace(
        train_loader=SimpleNamespace(dataset=SimpleNamespace(labels=labels)), data={"nc": 2}
    )
    assert DetectionTrainer.get_class_counts(trainer).tolist() == [2.0, 1.0]
