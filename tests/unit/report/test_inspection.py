from __future__ import annotations

import json
import re
import shutil
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from yolo_ema.constants import BOX_COLOURS_RGB
from yolo_ema.errors import ConfigError, DataError, DataNotFoundError
from yolo_ema.options.data import InspectOptions
from yolo_ema.report.inspect.contact_sheet import draw_contact_sheet
from yolo_ema.report.inspect.dataset_scan import read_thumbnail, scan_split
from yolo_ema.report.inspect.inspection import inspect
from yolo_ema.report.inspect.near_duplicates import (
    difference_hashes,
    hamming_distances,
    near_duplicates,
)
from yolo_ema.report.inspect.suspicious_labels import suspicious_labels

WH = (400, 200)


def _photo(seed: int, wh: tuple[int, int] = WH) -> np.ndarray:
    """A smooth image, different for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return cv2.resize(noise, wh, interpolation=cv2.INTER_CUBIC)


def _add(
    root: Path,
    split: str,
    stem: str,
    rows: str = "",
    *,
    picture: np.ndarray | None = None,
    ignored: str = "",
) -> Path:
    image = root / "images" / split / f"{stem}.jpg"
    for folder in ("images", "labels", "ignored"):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(
        str(image), _photo(zlib.crc32(f"{split}/{stem}".encode())) if picture is None else picture
    )
    (root / "labels" / split / f"{stem}.txt").write_text(rows)
    if ignored:
        (root / "ignored" / split / f"{stem}.txt").write_text(ignored)
    return image


def _row(
    class_id: int, x1: float, y1: float, x2: float, y2: float, wh: tuple[int, int] = WH
) -> str:
    return (
        f"{class_id} {(x1 + x2) / 2 / wh[0]:.6f} {(y1 + y2) / 2 / wh[1]:.6f} "
        f"{(x2 - x1) / wh[0]:.6f} {(y2 - y1) / wh[1]:.6f}\n"
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "boats"
    _add(
        root,
        "train",
        "a",
        _row(0, 10, 10, 30, 30) + _row(1, 100, 50, 105, 55) + _row(1, 200, 100, 217, 117),
    )
    _add(root, "train", "b", ignored="0.5 0.5 0.2 0.2\n0.1 0.1 0.1 0.1\n")
    _add(root, "val", "c", _row(1, 0, 0, 80, 80))
    (root / "boats.yaml").write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\nnames: [boat, buoy]\n"
    )
    return root


def test_classes_that_share_a_name_are_counted_apart(dataset: Path, tmp_path: Path) -> None:
    file = dataset / "boats.yaml"
    file.write_text(file.read_text().replace("[boat, buoy]", "[boat, boat]"))
    result = inspect(InspectOptions(data=str(dataset), out=tmp_path / "out"))
    counts = result.as_json()["splits"]["train"]["boxes_per_class"]
    assert counts == {"boat (class 0)": 1, "boat (class 1)": 2}
    assert re.search(r"boat \(class 1\) +2 ", result.as_text())


def test_counts_and_sizes_at_the_training_size(dataset: Path, tmp_path: Path) -> None:
    result = inspect(InspectOptions(data=str(dataset), imgsz=800, out=tmp_path / "out")).as_json()
    assert result["imgsz"] == 800
    train, val = result["splits"]["train"], result["splits"]["val"]
    assert train["images"] == 2
    assert train["images_without_objects"] == 1
    assert train["boxes_per_class"] == {"boat": 1, "buoy": 2}
    assert train["ignored_regions"] == 2
    assert train["objects_per_image"] == {"least": 0, "median": 1.5, "mean": 1.5, "most": 3}
    # sides 20, 5 and 17 px in images of 400 px become 40, 10 and 34 px at 800
    assert train["box_sizes"] == {
        "median_px": 34.0,
        "below_8_px": 0.0,
        "below_16_px": 33.33,
        "below_32_px": 33.33,
    }
    assert val["box_sizes"] == {
        "median_px": 160.0,
        "below_8_px": 0.0,
        "below_16_px": 0.0,
        "below_32_px": 0.0,
    }
    assert val["box_sizes_per_class"]["boat"] == {
        "median_px": None,
        "below_8_px": None,
        "below_16_px": None,
        "below_32_px": None,
    }
    json.dumps(result, allow_nan=False)


def test_the_plots_are_drawn(dataset: Path, tmp_path: Path) -> None:
    result = inspect(InspectOptions(data=str(dataset / "boats.yaml"), out=tmp_path / "out"))
    names = [
        "boxes-per-class.png",
        "box-sizes.png",
        "objects-per-image.png",
        "positions.png",
        "contact-sheet.jpg",
    ]
    assert [path.name for path in result.plots] == names
    for path in result.plots:
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 200
            assert len(picture.convert("L").getcolors(256)) > 10
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    text = result.as_text()
    assert "boxes below 16 px, %" in text
    assert "contact-sheet.jpg" in text


def test_without_plots_nothing_is_written(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = inspect(InspectOptions(data=str(dataset), plots=False, duplicates=False))
    assert result.as_json()["pictures"] == []
    assert "near-duplicate" not in result.as_text()
    assert sorted(tmp_path.rglob("*")) == before


def test_suspicious_labels_are_named_with_file_and_row(tmp_path: Path) -> None:
    root = tmp_path / "data"
    rows = [
        _row(0, 10, 10, 12, 40),  # 1 tiny, and thin
        _row(0, 0, 0, 390, 190),  # 2 huge
        _row(0, 50, 50, 170, 60),  # 3 twelve times as long as wide
        _row(1, 200, 20, 240, 60),  # 4
        _row(1, 200, 20, 241, 60),  # 5 the same as 4
        _row(0, 200, 20, 240, 61),  # 6 another class at 4
        _row(1, 396, 150, 402, 160),  # 7 two pixels beyond the border
        _row(1, 300, 150, 320, 170),  # 8 nothing odd
        _row(1, 300, 150, 320, 170),  # 9 repeats 8
    ]
    _add(root, "train", "a", "".join(rows))
    _add(root, "train", "b", _row(0, 10, 10, 12.1, 30) + "\n" + _row(0, 10, 100, 12, 110))
    scan = scan_split("train", sorted((root / "images/train").iterdir()), 2, thumbnails=False)
    found = suspicious_labels(scan)
    labels = root / "labels/train"
    assert {(Path(one.file).name, one.kind, one.row) for one in found} == {
        ("a.txt", "tiny", 1),
        ("a.txt", "extreme aspect", 1),
        ("a.txt", "huge", 2),
        ("a.txt", "extreme aspect", 3),
        ("a.txt", "duplicate", 5),
        ("a.txt", "two classes", 6),
        ("a.txt", "outside", 7),
        ("a.txt", "duplicate", 9),
        ("b.txt", "tiny", 3),
    }
    huge = next(one for one in found if one.kind == "huge")
    assert huge.box_xyxy == pytest.approx((0, 0, 390, 190), abs=0.01)
    assert huge.file == str(labels / "a.txt")
    assert huge.class_id == 0


def test_overlaps_match_a_plain_loop(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    boxes = generator.uniform(20, 60, (60, 2)).round()
    sides = generator.uniform(90, 100, (60, 2)).round()
    rows = [
        (int(c), *map(float, b), *map(float, b + s))
        for c, b, s in zip(generator.integers(0, 2, 60), boxes, sides, strict=True)
    ]
    _add(tmp_path, "train", "a", "".join(_row(*row) for row in rows))
    expected = set()
    for later in range(60):
        for earlier in range(later):
            (c1, a1, b1, a2, b2), (c2, p1, q1, p2, q2) = rows[earlier], rows[later]
            inter = max(0, min(a2, p2) - max(a1, p1)) * max(0, min(b2, q2) - max(b1, q1))
            iou = inter / ((a2 - a1) * (b2 - b1) + (p2 - p1) * (q2 - q1) - inter)
            if iou >= 0.9:
                expected.add(("duplicate" if c1 == c2 else "two classes", later + 1))
    scan = scan_split("train", list((tmp_path / "images/train").iterdir()), 2, thumbnails=False)
    assert expected
    assert {(one.kind, one.row) for one in suspicious_labels(scan)} == expected


def test_hamming_distances_match_counting_bits() -> None:
    generator = np.random.default_rng(1)
    left, right = (
        generator.integers(0, 256, (7, 8), dtype=np.uint8),
        generator.integers(0, 256, (5, 8), dtype=np.uint8),
    )
    plain = [
        [sum((int(a) ^ int(b)).bit_count() for a, b in zip(one, two, strict=True)) for two in right]
        for one in left
    ]
    assert hamming_distances(left, right).tolist() == plain


def test_the_hash_of_a_ramp_and_of_its_mirror() -> None:
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    rising, falling = difference_hashes(np.array([ramp, ramp[:, ::-1]]))
    assert rising.tolist() == [0] * 8
    assert falling.tolist() == [255] * 8


def test_near_duplicates_across_splits_are_found_and_others_are_not(tmp_path: Path) -> None:
    same = _photo(7)
    brighter = np.clip(same.astype(np.float64) * 1.1 + 12, 0, 255).astype(np.uint8)
    smaller = cv2.resize(same, (300, 150))
    for number in range(30):
        _add(tmp_path, "train", f"t{number}", picture=_photo(100 + number))
        _add(tmp_path, "val", f"v{number}", picture=_photo(200 + number))
    _add(tmp_path, "train", "same", picture=same)
    _add(tmp_path, "train", "again", picture=same)
    _add(tmp_path, "val", "brighter", picture=brighter)
    _add(tmp_path, "val", "smaller", picture=smaller)
    grey = np.full((200, 400, 3), 90, dtype=np.uint8)
    _add(tmp_path, "train", "flat", picture=grey)
    _add(tmp_path, "val", "flat", picture=grey + 40)
    scans = [
        scan_split(split, sorted((tmp_path / "images" / split).iterdir()), 2, thumbnails=True)
        for split in ("train", "val")
    ]
    found = {tuple(Path(name).stem for name in one.images) for one in near_duplicates(scans)}
    assert found == {
        ("same", "brighter"),
        ("same", "smaller"),
        ("again", "brighter"),
        ("again", "smaller"),
    }


def test_a_thumbnail_is_the_same_for_every_decoder(tmp_path: Path) -> None:
    large = _photo(3, (2400, 1600))
    cv2.imwrite(str(tmp_path / "a.jpg"), large, [cv2.IMWRITE_JPEG_QUALITY, 98])
    slow = cv2.resize(
        cv2.cvtColor(large, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA
    )
    quick = read_thumbnail(tmp_path / "a.jpg", (2400, 1600))
    assert np.abs(quick.astype(int) - slow.astype(int)).max() <= 4


def test_unusable_images_are_named_and_the_rest_kept(dataset: Path, tmp_path: Path) -> None:
    (dataset / "images/train/broken.jpg").write_bytes(b"no image")
    (dataset / "images/train/empty.jpg").write_bytes(b"")
    whole = (dataset / "images/train/a.jpg").read_bytes()
    header = whole.index(b"\xff\xda")
    (dataset / "images/train/cut.jpg").write_bytes(whole[: header + 2])
    (dataset / "labels/train/b.txt").write_text("0 0.5 0.5 0.1 0.1\n9 0.5 0.5 0.1 0.1\nx\n")
    shutil.copy(dataset / "images/train/b.jpg", dataset / "images/train/unlabelled.jpg")
    result = inspect(InspectOptions(data=str(dataset), out=tmp_path / "out"))
    problems = {
        (Path(one["file"]).name, one["row"])
        for one in result.as_json()["splits"]["train"]["problems"]
    }
    assert {("broken.jpg", 0), ("empty.jpg", 0), ("b.txt", 2), ("b.txt", 3)} <= problems
    assert result.as_json()["splits"]["train"]["boxes"] == 4
    train = result.as_json()["splits"]["train"]
    assert train["images_without_label_file"] == 1
    assert [Path(path).name for path in train["without_label_file"]] == ["unlabelled.jpg"]
    assert (train["images"], train["images_left_out"]) == (3, 3)
    text = result.as_text()
    assert re.search(r"^images left out +3 +0$", text, re.MULTILINE)
    assert re.search(r"^images without a label file +1 +0$", text, re.MULTILINE)
    assert f"{dataset}/images/train/unlabelled.jpg has no label file (train)" in text
    assert f"{dataset}/images/train/empty.jpg: left out: " in text


def test_the_sheet_shows_boxes_in_their_colours_with_small_ones_on_top(tmp_path: Path) -> None:
    black = np.zeros((400, 800, 3), dtype=np.uint8)
    wh = (800, 400)
    rows = _row(1, 100, 100, 300, 300, wh) + _row(0, 100, 100, 110, 110, wh)
    _add(tmp_path, "train", "a", rows, picture=black, ignored="0.75 0.5 0.25 0.5\n")
    scan = scan_split("train", list((tmp_path / "images/train").iterdir()), 2, thumbnails=False)
    path = draw_contact_sheet([scan], ["boat", "buoy"], tmp_path / "sheet.jpg")
    with Image.open(path) as sheet:
        picture = np.asarray(sheet.convert("RGB")).astype(int)
    picture = picture[-12 - 400 :, 12:]
    # the rounding of labels may shift a line by a pixel
    lines = picture[108:112, 105].max(axis=0), picture[298:302, 200].max(axis=0)
    for line, colour in zip(lines, BOX_COLOURS_RGB, strict=False):
        assert np.abs(line / line.max() - np.array(colour) / max(colour)).max() < 0.3
    hatched = picture[100:300, 500:700].reshape(-1, 3)
    assert 20 < hatched.mean() < 100
    assert picture[320:380, 320:380].max() < 12


def test_only_the_requested_splits(dataset: Path) -> None:
    assert list(
        inspect(InspectOptions(data=str(dataset), splits=("val",), plots=False)).as_json()["splits"]
    ) == ["val"]
    with pytest.raises(DataNotFoundError, match="no split 'test'"):
        inspect(InspectOptions(data=str(dataset), splits=("test",), plots=False))


def test_a_split_that_was_not_prepared_is_skipped(dataset: Path) -> None:
    shutil.rmtree(dataset / "images/val")
    (dataset / "images/val").mkdir()
    assert list(inspect(InspectOptions(data=str(dataset), plots=False)).as_json()["splits"]) == [
        "train"
    ]
    shutil.rmtree(dataset / "images/train")
    (dataset / "images/train").mkdir()
    with pytest.raises(DataNotFoundError, match="no images in any split"):
        inspect(InspectOptions(data=str(dataset), plots=False))


def test_a_dataset_without_any_object_has_plots_too(tmp_path: Path) -> None:
    root = tmp_path / "sea"
    _add(root, "train", "a")
    _add(root, "val", "b")
    (root / "sea.yaml").write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\nnames: [boat]\n"
    )
    result = inspect(InspectOptions(data=str(root), out=tmp_path / "out"))
    assert len(result.plots) == 5
    assert result.as_json()["splits"]["train"]["box_sizes"]["median_px"] is None
    assert "suspicious labels: none" in result.as_text()


def test_the_training_size_has_limits() -> None:
    with pytest.raises(ConfigError, match="--imgsz is 8; expected 32 to 8192"):
        InspectOptions(data="visdrone", imgsz=8)


def test_no_usable_image_is_an_error(dataset: Path) -> None:
    for image in (dataset / "images").rglob("*.jpg"):
        image.write_bytes(b"no image")
    with pytest.raises(
        DataError, match=r"no image of .*boats.yaml can be used; the first: .*a.jpg"
    ):
        inspect(InspectOptions(data=str(dataset), plots=False))


@pytest.mark.parametrize(("points", "numbers"), [(4, 2), (2, 3)])
def test_keypoints_are_cut_off_as_in_training(tmp_path: Path, points: int, numbers: int) -> None:
    """13 numbers would also be a polygon of six points, 11 neither that nor a box."""
    root = tmp_path / "pose"
    keypoints = " 0.9" * (points * numbers)
    rows = [_row(0, 10, 10, 30, 30), _row(0, 100, 50, 101, 90)]
    text = "".join(row.strip() + keypoints + "\n" for row in rows)
    _add(root, "train", "a", text)
    _add(root, "val", "b", text)
    (root / "pose.yaml").write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\nnames: [boat]\n"
        f"kpt_shape: [{points}, {numbers}]\n"
    )
    result = inspect(InspectOptions(data=str(root), plots=False, imgsz=400))
    assert result.as_json()["splits"]["train"]["boxes"] == 2
    np.testing.assert_allclose(
        result.scans[0].boxes_xyxy, [[10, 10, 30, 30], [100, 50, 101, 90]], atol=1e-3
    )
    assert {(label.kind, label.row) for label in result.suspicions} == {
        ("tiny", 2),
        ("extreme aspect", 2),
    }


def test_hidden_files_are_not_images(dataset: Path) -> None:
    train = dataset / "images/train"
    (train / "._a.jpg").write_bytes(b"Mac OS X")
    for folder in (".ipynb_checkpoints", "__MACOSX"):
        (train / folder).mkdir()
        shutil.copy(train / "a.jpg", train / folder / "a-checkpoint.jpg")
    counts = inspect(InspectOptions(data=str(dataset), plots=False)).as_json()["splits"]["train"]
    assert (counts["images"], counts["images_left_out"]) == (2, 0)


def test_hostile_class_names_break_neither_plots_nor_table(tmp_path: Path) -> None:
    names = ["$\\frac{$", "two\nlines", "\x1b[31mred", "船"]
    root = tmp_path / "odd"
    rows = [_row(number, 10 + 50 * number, 10, 40 + 50 * number, 40) for number in range(4)]
    _add(root, "train", "a", "".join(rows))
    _add(root, "val", "b", "".join(rows))
    (root / "odd.yaml").write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\nnames: {json.dumps(names)}\n"
    )
    result = inspect(InspectOptions(data=str(root), out=tmp_path / "out"))
    assert len(result.plots) == 5
    lines = result.as_text().splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["$\\frac{$", "two", "[31mred", "船"]
    assert result.as_json()["names"] == names


def test_images_in_every_format_of_training_are_read_or_named(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    photo = Image.fromarray(_photo(1)[..., ::-1])
    photo.save(folder / "stereo.mpo", save_all=True, append_images=[photo])
    photo.save(folder / "small.tiff")
    (folder / "raw.dng").write_bytes((folder / "small.tiff").read_bytes())
    formats = {"avif": features.check("avif")}
    if formats["avif"]:
        photo.save(folder / "new.avif")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    huge = Image.new("1", (30_000, 30_000))
    huge.save(folder / "huge.png")
    images = sorted(folder.iterdir())
    scan = scan_split("train", images, 1, thumbnails=True)
    by_name = dict(zip([image.name for image in scan.images], scan.sizes_wh.tolist(), strict=True))
    read = {"raw.dng", "small.tiff", "stereo.mpo", *(["new.avif"] if formats["avif"] else [])}
    assert by_name == {name: [400.0, 200.0] for name in read}
    left_out = {Path(problem.file).name: problem.text for problem in scan.problems}
    assert set(left_out) == {"huge.png", "phone.heic"}
    assert "900 million pixels" in left_out["huge.png"]
    thumbnails = scan.thumbnails.astype(int)
    assert np.abs(thumbnails - thumbnails[0]).max() < 12, "each shows the same photo"


def test_a_tall_image_takes_no_more_than_its_share_of_the_sheet(tmp_path: Path) -> None:
    tall = np.full((6000, 12, 3), 90, dtype=np.uint8)
    _add(tmp_path, "train", "a", _row(0, 0, 0, 12, 3000, (12, 6000)), picture=tall)
    scan = scan_split("train", list((tmp_path / "images/train").iterdir()), 1, thumbnails=False)
    with Image.open(draw_contact_sheet([scan], ["mast"], tmp_path / "sheet.jpg")) as sheet:
        assert 2400 < sheet.height < 2600
