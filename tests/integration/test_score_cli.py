"""``yolo-ema score`` on folders that are right, odd and wrong."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from yolo_ema.errors import AnnotationError, ConfigError, DataError, DataNotFoundError
from yolo_ema.metrics.score import score
from yolo_ema.metrics.visdrone_protocol import evaluate_official
from yolo_ema.options.score import ScoreOptions
from yolo_ema.visdrone.submission import rounded, write_submission

NAMES = ("img_a", "img_b", "img_c")


@pytest.fixture
def folders(tmp_path):
    """Three images with three cars each; every car is found, with falling scores."""
    root = tmp_path / "VisDrone2019-DET-val"
    for folder in ("annotations", "results", "images"):
        (root / folder).mkdir(parents=True)
    for n, name in enumerate(NAMES):
        boxes = [(10 + 40 * i, 10 + n, 20, 15) for i in range(3)]
        (root / "annotations" / f"{name}.txt").write_text(
            "".join(f"{a},{b},{c},{d},1,4,0,0\n" for a, b, c, d in boxes)
        )
        rows = "".join(
            f"{a},{b},{c},{d},{0.9 - 0.1 * i},4,-1,-1\n" for i, (a, b, c, d) in enumerate(boxes)
        )
        (root / "results" / f"{name}.txt").write_text(rows)
        cv2.imwrite(str(root / "images" / f"{name}.jpg"), np.zeros((90, 160, 3), np.uint8))
    (root / "sizes.csv").write_text(
        "image,width,height\n" + "".join(f"{name},160,90\n" for name in NAMES)
    )
    return root


def options(root, **changes):
    return ScoreOptions(
        **(
            {
                "annotations": root / "annotations",
                "results": root / "results",
                "sizes": root / "sizes.csv",
            }
            | changes
        )
    )


def test_command_prints_everything_as_json(folders, yolo_ema_command):
    words = (
        "score",
        "--annotations",
        folders / "annotations",
        "--results",
        folders / "results",
        "--images",
        folders / "images",
        "--json",
    )
    done = yolo_ema_command(*words)
    assert done.code == 0, done.err
    assert done.err == ""
    found = done.json
    assert set(found) == {
        "official",
        "official_macro",
        "coco",
        "per_class",
        "thresholds",
        "protocol",
        "left_out",
        "warnings",
    }
    assert found["left_out"] == {"ground-truth rows": 0, "result files": 0}
    assert (
        set(found["official"])
        == set(found["official_macro"])
        == {"AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500"}
    )
    assert found["official"]["AP"] == pytest.approx(100)
    assert found["official"]["AR1"] == pytest.approx(100 / 3)
    assert found["coco"]["AP_small"] == pytest.approx(100)
    assert found["coco"]["AP_large"] is None
    assert found["per_class"]["car"]["official"]["AP50"] == pytest.approx(100)
    assert (
        found["thresholds"]["per_class"]["car"]["F1"]
        == found["thresholds"]["all"]["F1"]
        == pytest.approx(100)
    )
    assert "bus" not in found["thresholds"]["per_class"]
    assert found["per_class"]["bus"]["coco"]["AP"] is None
    assert found["per_class"]["car"]["objects"] == {"official": 9, "coco": 9}
    protocol = found["protocol"]
    assert (protocol["split"], protocol["images"], protocol["detections"]) == ("val", 3, 9)
    assert protocol["official"]["max_dets"] == [1, 10, 100, 500]
    assert "yolo-ema" in protocol["versions"]


def test_human_readable_table(folders, yolo_ema_command):
    done = yolo_ema_command(
        "score",
        "--annotations",
        folders / "annotations",
        "--results",
        folders / "results",
        "--sizes",
        folders / "sizes.csv",
    )
    assert done.code == 0, done.err
    assert ["VisDrone", "official", "100.00", "100.00"] in [
        line.split()[:4] for line in done.out.splitlines()
    ]
    assert "split val, 3 images, 9 detections" in done.out


def test_images_and_table_give_the_same(folders):
    by_table, by_images = (
        score(options(folders)),
        score(options(folders, sizes=None, images=folders / "images")),
    )
    assert by_table.as_json() == by_images.as_json()


def test_missing_and_empty_files_are_no_detections_and_are_reported(folders, capsys):
    (folders / "results" / "img_a.txt").unlink()
    (folders / "results" / "img_b.txt").write_text("\n")
    found = score(options(folders)).as_json()
    assert found["official"]["AR500"] == pytest.approx(100 / 3)
    said = capsys.readouterr().err
    assert "1 image without a result file, counted as no detections: img_a" in said
    assert "1 image with an empty result file, counted as no detections: img_b" in said
    assert len(found["warnings"]) == 2


def test_unsorted_files_are_sorted_and_as_is_keeps_the_toolkits_behaviour(folders, capsys):
    file = folders / "results" / "img_a.txt"
    wrong = "".join(f"{x},80,5,5,0.1,1,-1,-1\n" for x in range(500))
    file.write_text(wrong + file.read_text())
    assert score(options(folders)).official.official["AR500"] == pytest.approx(100)
    assert (
        "1 image with rows not by falling score, sorted before scoring; --as-is scores rows in "
        "file order: img_a" in capsys.readouterr().err
    )
    assert score(options(folders, as_is=True)).official.official["AR500"] == pytest.approx(200 / 3)
    assert "scored as written: img_a" in capsys.readouterr().err


def test_results_without_annotation_are_left_out_and_reported(folders, capsys):
    (folders / "results" / "stray.txt").write_text("1,1,5,5,0.99,4,-1,-1\n")
    assert score(options(folders)).official.official["AP"] == pytest.approx(100)
    assert (
        "1 image with a result file but no annotation, left out: stray" in capsys.readouterr().err
    )


def test_a_folder_of_other_results_is_an_error(folders):
    for file in (folders / "results").iterdir():
        file.rename(file.with_name(f"x{file.name}"))
    with pytest.raises(
        DataError, match=r"none of the 3 result files .* the first are ximg_a.txt and img_a.txt"
    ):
        score(options(folders))


def test_a_folder_without_result_files_is_an_error(folders, yolo_ema_command):
    (folders / "empty").mkdir()
    (folders / "runs/detect7").mkdir(parents=True)
    (folders / "results").rename(folders / "runs/detect7/results")
    truth = ("score", "--annotations", folders / "annotations", "--sizes", folders / "sizes.csv")
    for place, message in (
        ("empty", "empty holds no result files; expected one .txt per image"),
        ("runs/detect7", "results/img_a.txt and img_a.txt; there are such in its sub-folders resu"),
    ):
        done = yolo_ema_command(*truth, "--results", folders / place)
        assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
        assert message in done.err


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("results/img_b.txt", "1,2,3", r"img_b.txt, row 4: 3 fields"),
        ("results/img_b.txt", "1,2,3,4,high,4,-1,-1", r"img_b.txt, row 4: score is 'high'"),
        (
            "annotations/img_c.txt",
            "1,2,3,4,1,4,0",
            r"img_c.txt, row 4: 7 fields, expected 8.*nothing is scored",
        ),
        ("annotations/img_c.txt", "1,2,3,4,1,12,0,0", r"img_c.txt, row 4: category is 12"),
    ],
)
def test_bad_rows_are_named_with_file_and_row(folders, file, row, message):
    with (folders / file).open("a") as opened:
        opened.write(row + "\n")
    with pytest.raises(AnnotationError, match=message):
        score(options(folders, strict=True))


def test_bad_ground_truth_is_left_out_and_reported_unless_strict(folders, capsys):
    with (folders / "annotations/img_c.txt").open("a") as opened:
        opened.write("1,2,3,4,1,4,0\nwhat\n")
    assert score(options(folders)).official.official["AP"] == pytest.approx(100)
    assert "2 rows of the ground truth cannot be read and are left out" in (
        said := capsys.readouterr().err
    )
    assert "img_c.txt, row 4: 7 fields" in said


def test_one_left_out_row_is_reported_in_the_singular(folders, capsys):
    with (folders / "annotations/img_c.txt").open("a") as opened:
        opened.write("what\n")
    score(options(folders))
    assert "1 row of the ground truth cannot be read and is left out" in (
        said := capsys.readouterr().err
    )
    assert "img_c.txt, row 4: 1 field, expected 8" in said


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("VisDrone2019-DET-test-dev/annotations", "test-dev"),
        ("datasets/mine/annotations/val", "val"),
        ("train-stuff/gt", None),
        ("val/experiments/first/gt", None),
        ("trainer/gt", None),
    ],
)
def test_a_split_is_recognised_only_by_the_folder_and_its_parent(folders, tmp_path, place, split):
    truth = tmp_path / "elsewhere" / place
    truth.parent.mkdir(parents=True)
    (folders / "annotations").rename(truth)
    assert score(options(folders, annotations=truth)).as_json()["protocol"]["split"] == split


def test_the_command_names_the_row_in_one_line(folders, yolo_ema_command):
    (folders / "results" / "img_a.txt").write_text("what\n")
    done = yolo_ema_command(
        "score",
        "--annotations",
        folders / "annotations",
        "--results",
        folders / "results",
        "--sizes",
        folders / "sizes.csv",
    )
    assert (done.code, done.out) == (3, "")
    assert done.err.count("\n") == 1
    assert "img_a.txt, row 1" in done.err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,w,h\nimg_a,1,1\n", "expected the columns image,width,height"),
        ("", "expected the columns image,width,height"),
        (
            "image,width,height\nimg_a,160,90\n",
            "has no size for 2 images with annotations: img_b, img_c",
        ),
        ("image,width,height\nimg_a,160,none\n", r"row 2: size is '160' x 'none'"),
        ("image,width,height\nimg_a,160\n", r"row 2: size is '160' x 'None'"),
    ],
)
def test_bad_tables_of_sizes(folders, table, message):
    (folders / "sizes.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        score(options(folders))


def test_table_of_sizes_may_name_files(folders):
    (folders / "sizes.csv").write_text(
        "image,width,height\n" + "".join(f"{name}.jpg, 160 ,90\n" for name in NAMES)
    )
    assert score(options(folders)).official.official["AP"] == pytest.approx(100)


def test_missing_folders_and_images_are_named(folders):
    with pytest.raises(DataNotFoundError, match=r"folder of results .*nowhere does not exist"):
        score(options(folders, results=folders / "nowhere"))
    with pytest.raises(DataNotFoundError, match="holds no annotation files"):
        score(options(folders, annotations=folders / "images"))
    (folders / "images" / "img_b.jpg").unlink()
    with pytest.raises(
        DataNotFoundError, match=r"lacks the images of 1 image with annotations: img_b"
    ):
        score(options(folders, sizes=None, images=folders / "images"))
    (folders / "images" / "img_b.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"img_b.jpg is not an image that can be read"):
        score(options(folders, sizes=None, images=folders / "images"))


def test_folders_are_read_with_their_sub_folders(folders):
    """Also where the results of annotations in folders lie flat, since no two share a name."""
    flat = score(options(folders)).as_json()
    for folder in ("annotations", "images"):
        (folders / folder / "north").mkdir()
        for file in (folders / folder).glob("img_[ab].*"):
            file.rename(file.parent / "north" / file.name)
    assert score(options(folders)).as_json() == flat
    assert score(options(folders, sizes=None, images=folders / "images")).as_json() == flat
    (folders / "results/north").mkdir()
    (folders / "results/img_a.txt").rename(folders / "results/north/img_a.txt")
    (folders / "results/.trash").mkdir()
    (folders / "results/.trash/img_c.txt").write_text("")
    (folders / "results/north/all").symlink_to(folders / "results", target_is_directory=True)
    assert score(options(folders)).as_json() == flat


def test_equal_names_in_several_folders_are_told_apart(folders):
    for folder in ("annotations", "results"):
        for place, name in (("south", "img_b"), ("north", "img_c")):
            (folders / folder / place).mkdir()
            file = folders / folder / f"{name}.txt"
            file.rename(folders / folder / place / "img_a.txt")
    (folders / "results/south/img_a.txt").write_text("")
    rows = ("img_a,160,90", "south/img_a.jpg,160,90", "north/img_a,160,90")
    (folders / "sizes.csv").write_text("\n".join(["image,width,height", *rows]))
    found = score(options(folders)).as_json()
    assert found["official"]["AR500"] == pytest.approx(200 / 3)
    assert "no detections: south/img_a" in found["warnings"][0]
    (folders / "sizes.csv").write_text("\n".join(["image,width,height", *rows[:2]]))
    with pytest.raises(DataError, match="no size for 1 image with annotations: north/img_a"):
        score(options(folders))


def test_sizes_come_from_one_place(tmp_path):
    with pytest.raises(ConfigError, match="neither is given"):
        ScoreOptions(annotations=tmp_path, results=tmp_path)
    with pytest.raises(ConfigError, match="both are given"):
        ScoreOptions(annotations=tmp_path, results=tmp_path, images=tmp_path, sizes=tmp_path)


def test_written_submissions_score_like_the_arrays(folders):
    rng = np.random.default_rng(0)
    found = {
        name: rounded(
            np.column_stack(
                [
                    rng.random((80, 2)) * 120,
                    5 + rng.random((80, 2)) * 30,
                    rng.random(80),
                    rng.integers(1, 11, 80),
                ]
            )
        )
        for name in NAMES
    }
    found["img_c"] = rounded(np.zeros((0, 6)))
    write_submission(folders / "written", found)
    card = score(options(folders, results=folders / "written"))
    ordered = {name: rows[np.argsort(-rows[:, 4], kind="stable")] for name, rows in found.items()}
    truth = {
        name: np.array([[10 + 40 * i, 10 + n, 20, 15, 1, 4] for i in range(3)], float)
        for n, name in enumerate(NAMES)
    }
    assert (
        card.official.official
        == evaluate_official(truth, ordered, dict.fromkeys(NAMES, (160, 90))).official
    )
    assert (folders / "written" / "img_c.txt").read_text() == ""
    assert (folders / "written" / "img_a.txt").read_text().splitlines()[0].endswith(",-1,-1")
    json.dumps(card.as_json(), allow_nan=False)
