"""From what a user calls a dataset to its YAML, classes, images and the files beside them."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image

from yolo_ema.engine.data.data_yaml import DATASETS, read_data
from yolo_ema.engine.data.dataset_lookup import named_yaml, resolve_data
from yolo_ema.engine.data.split_files import (
    data_fingerprint,
    ignored_path,
    label_path,
    split_images,
)
from yolo_ema.errors import ArchiveError, ConfigError, DataError, DataNotFoundError, OfflineError
from yolo_ema.io.resources import data_dir


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("yolo_ema.engine.setup.ultralytics_settings.user_settings", dict)


def _dataset(root: Path, images: int = 2, **entries) -> Path:
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for number in range(images):
            (root / "images" / split / f"{number}.jpg").write_bytes(b"jpeg" * (number + 1))
            (root / "labels" / split / f"{number}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    file = root / f"{root.name}.yaml"
    content = {
        "path": str(root),
        "train": "images/train",
        "val": "images/val",
        "names": ["car", "bus"],
        **entries,
    }
    file.write_text(
        yaml.safe_dump({key: value for key, value in content.items() if value is not None})
    )
    return file


@pytest.mark.parametrize(
    ("names", "nc", "expected"),
    [
        (["car", "bus"], None, {0: "car", 1: "bus"}),
        ({0: "car", 1: "bus"}, 2, {0: "car", 1: "bus"}),
        ({1: "bus", 0: "car"}, None, {0: "car", 1: "bus"}),
        (None, 3, {0: "class_0", 1: "class_1", 2: "class_2"}),
        ([7, 8], None, {0: "7", 1: "8"}),
    ],
)
def test_classes_come_as_list_as_numbers_or_as_a_count(tmp_path, names, nc, expected):
    data = read_data(_dataset(tmp_path / "mine", names=names, nc=nc))
    assert data["names"] == expected
    assert data["nc"] == len(expected)


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"names": None}, "'names' is missing"),
        ({"names": {0: "car", 2: "bus"}}, "numbers 0, 2; expected 0 to 1"),
        ({"names": ["car"], "nc": 2}, "'nc' is 2, but 'names' has 1"),
        ({"names": "car"}, "'names' is 'car'"),
        ({"names": None, "nc": 0}, "'nc' is 0"),
        ({"train": None}, "'train' is missing"),
        ({"val": {"a": 1}}, "'val' is {'a': 1}"),
    ],
)
def test_what_is_wrong_in_a_data_yaml_is_named_with_its_file(tmp_path, entries, what):
    file = _dataset(tmp_path / "mine", **entries)
    with pytest.raises(DataError, match=r"mine\.yaml") as caught:
        read_data(file)
    assert what in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    with pytest.raises(
        DataError, match=r"'names' is missing.*'train' is missing.*'val' is missing"
    ):
        read_data(_dataset(tmp_path / "mine", names=None, train=None, val=None))


def test_a_yaml_that_is_none_says_so(tmp_path):
    (tmp_path / "bad.yaml").write_text("names: [car\n")
    with pytest.raises(DataError, match=r"bad.yaml cannot be read as YAML"):
        read_data(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]\n")
    with pytest.raises(DataError, match="holds list"):
        read_data(tmp_path / "list.yaml")


def test_a_yaml_cannot_make_python_objects(tmp_path):
    (tmp_path / "evil.yaml").write_text("!!python/object/apply:os.system ['touch pwned']\n")
    with pytest.raises(DataError):
        read_data(tmp_path / "evil.yaml")
    assert not (tmp_path / "pwned").exists()


def test_the_root_is_found_here_in_datasets_beside_the_yaml_and_where_ultralytics_keeps_its_own(
    tmp_path, monkeypatch
):
    file = _dataset(tmp_path / "yamls" / "mine", path="mine")
    theirs = tmp_path / "theirs"
    monkeypatch.setattr(
        "yolo_ema.engine.setup.ultralytics_settings.user_settings",
        lambda: {"datasets_dir": str(theirs)},
    )
    assert read_data(file)["path"] == tmp_path / "datasets" / "mine"  # where it would be fetched to
    (theirs / "mine").mkdir(parents=True)
    assert read_data(file)["path"] == theirs / "mine"
    (tmp_path / "datasets" / "mine").mkdir(parents=True)
    assert read_data(file)["path"] == tmp_path / "datasets" / "mine"
    (tmp_path / "mine").mkdir()
    assert read_data(file)["path"] == tmp_path / "mine"


def test_images_of_a_folder_come_sorted_and_from_below_it(tmp_path):
    file = _dataset(tmp_path / "mine")
    below = tmp_path / "mine" / "images" / "train" / "a" / "b"
    below.mkdir(parents=True)
    (below / "deep.PNG").write_bytes(b"x")
    (below / "notes.txt").write_text("no image")
    names = [
        image.relative_to(tmp_path / "mine" / "images" / "train").as_posix()
        for image in split_images(file, "train")
    ]
    assert names == ["0.jpg", "1.jpg", "a/b/deep.PNG"]


def test_a_list_file_names_images_from_its_own_folder(tmp_path):
    file = _dataset(tmp_path / "mine", train="train.txt", val=["images/val", "images/train/0.jpg"])
    (tmp_path / "mine" / "train.txt").write_text(
        f"./images/train/1.jpg\r\n\n{tmp_path}/mine/images/train/0.jpg\n"
    )
    assert [image.name for image in split_images(file, "train")] == ["0.jpg", "1.jpg"]
    assert [image.name for image in split_images(file, "val")] == ["0.jpg", "0.jpg", "1.jpg"]


def test_test_dev_is_the_test_split(tmp_path):
    file = _dataset(tmp_path / "mine", **{"test-dev": "images/val"})
    assert split_images(file, "test-dev") == split_images(file, "test") == split_images(file, "val")


def test_a_split_that_is_not_there_names_those_that_are(tmp_path):
    file = _dataset(tmp_path / "mine")
    with pytest.raises(DataNotFoundError, match=r"no split 'test'; it has train, val"):
        split_images(file, "test")
    with pytest.raises(DataNotFoundError, match="did you mean 'train'"):
        split_images(file, "trian")
    with pytest.raises(DataNotFoundError, match=r"has no split 'tset'; it has train, val$"):
        split_images(file, "tset")  # nearest is a split that is not there, either


def test_an_empty_split_is_an_error(tmp_path):
    file = _dataset(tmp_path / "mine", images=0)
    with pytest.raises(DataNotFoundError, match="no images for 'train'"):
        split_images(file, "train")


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/images/x/images/a.b.jpg", "/images/x/labels/a.b.txt"),
        ("/d/photos/a.jpg", "/d/photos/a.txt"),
    ],
)
def test_labels_lie_where_ultralytics_looks_for_them(image, labels):
    from ultralytics.data.utils import img2label_paths

    assert str(label_path(Path(image))) == labels == img2label_paths([image])[0]


def test_ignored_regions_lie_beside_the_labels():
    assert ignored_path(Path("/d/images/train/a.jpg")) == Path("/d/ignored/train/a.txt")


def test_a_data_yaml_a_folder_with_one_and_its_path_as_text_mean_the_same(tmp_path):
    file = _dataset(tmp_path / "mine")
    assert resolve_data(file) == resolve_data(str(file)) == resolve_data(tmp_path / "mine") == file


def test_a_folder_with_several_data_yamls_asks_which(tmp_path):
    file = _dataset(tmp_path / "mine")
    file.rename(file.with_name("a.yaml"))
    (tmp_path / "mine" / "b.yaml").write_text((tmp_path / "mine" / "a.yaml").read_text())
    with pytest.raises(DataError, match=r"several data YAMLs \(a.yaml, b.yaml\)"):
        resolve_data(tmp_path / "mine")


def test_other_files_and_unknown_names_are_refused_with_the_closest(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(DataError, match="is not a data YAML"):
        resolve_data("weights.pt")
    with pytest.raises(DataNotFoundError, match="did you mean 'visdrone'"):
        resolve_data("visdron")
    with pytest.raises(DataNotFoundError, match="did you mean 'coco8'"):
        resolve_data("coco88")
    with pytest.raises(DataNotFoundError, match="'no/such/folder'"):
        resolve_data("no/such/folder")


def test_every_detection_yaml_that_ultralytics_ships_is_found_and_read():
    for name in ("coco", "coco8", "coco128.yaml", "VOC", "african-wildlife", "SKU-110K"):
        data = read_data(named_yaml(name))
        assert data["nc"] == len(data["names"]) >= 1
        assert data["path"].is_absolute()


def test_a_shipped_dataset_that_is_not_here_is_not_fetched_offline():
    with pytest.raises(OfflineError, match="--offline"):
        resolve_data("coco8", offline=True)


def test_missing_images_without_a_download_entry_say_what_is_missing(tmp_path):
    file = _dataset(tmp_path / "mine", val="images/nothing")
    with pytest.raises(
        DataNotFoundError, match=r"images/nothing is not there, and no 'download' entry"
    ):
        resolve_data(file)


def test_a_script_in_a_data_yaml_runs_only_when_trusted(tmp_path, capfd):
    script = (
        "from pathlib import Path\nPath('ran').write_text(str(yaml['path']))\n(yaml['path'] "
        "/ "
        "'images' / 'late').mkdir()\n"
    )
    file = _dataset(tmp_path / "mine", val="images/late", download=script)
    with pytest.raises(DataError, match=r"'download' is a script.*--trust"):
        resolve_data(file)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(OfflineError):
        resolve_data(file, offline=True, trust=True)
    assert not (tmp_path / "ran").exists()
    assert resolve_data(file, trust=True) == file
    assert (tmp_path / "ran").read_text() == str(tmp_path / "mine")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "Path('ran')" in shown.err  # what runs is said
    assert "how much it fetches is not known before, and the licence is not stated" in shown.err


def test_a_script_that_fails_is_an_error(tmp_path):
    file = _dataset(tmp_path / "mine", val="images/late", download="raise SystemExit(3)")
    with pytest.raises(DataError, match="exit code 3"):
        resolve_data(file, trust=True)
    file = _dataset(tmp_path / "other", val="images/late", download="pass")
    with pytest.raises(DataNotFoundError, match="its download ended, but"):
        resolve_data(file, trust=True)


@pytest.fixture
def served(tmp_path):
    """A local web server over a folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("top", ["small/", ""], ids=["a folder inside", "no folder inside"])
def test_an_archive_is_fetched_having_said_what_and_how_large(tmp_path, served, capfd, top):
    folder, address = served
    with zipfile.ZipFile(folder / "small.zip", "w") as archive:
        for split in ("train", "val"):
            archive.writestr(f"{top}images/{split}/a.jpg", b"jpeg")
            archive.writestr(f"{top}labels/{split}/a.txt", "0 0.5 0.5 0.1 0.1\n")
        archive.writestr(f"{top}setup.py", "code")
    file = tmp_path / "small.yaml"
    file.write_text(
        f"path: small\ntrain: images/train\nval: images/val\nnames: [car]\ndownload: "
        f"{address}/small.zip\n"
    )
    assert resolve_data(file) == file
    assert [image.name for image in split_images(file, "val")] == ["a.jpg"]
    root = tmp_path / DATASETS / "small"
    assert read_data(file)["path"] == root
    assert not (root / "setup.py").exists()
    assert [one.name for one in root.parent.iterdir()] == [
        "small"
    ]  # the archive and all that was beside are gone
    shown = capfd.readouterr().err
    assert f"fetching {address}/small.zip (0.0 MB)" in shown
    assert "the YAML states no licence" in shown


def _serve_archive(served) -> str:
    folder, address = served
    with zipfile.ZipFile(folder / "orchard.zip", "w") as archive:
        for split in ("train", "val"):
            archive.writestr(f"orchard/images/{split}/a.jpg", b"jpeg")
    return f"{address}/orchard.zip"


def _orchard(folder: Path, url: str) -> Path:
    file = folder / "orchard.yaml"
    file.write_text(
        f"path: {folder}/orchard\ntrain: images/train\nval: images/val\nnames: [tree]\ndownload: "
        f"{url}\n"
    )
    return file


def test_a_users_archive_beside_the_root_is_left_alone(tmp_path, served):
    home = tmp_path / "home"
    home.mkdir()
    (home / "orchard.zip").write_bytes(b"the user's own")
    (home / "orchard").mkdir()  # an empty root is as good as none
    assert resolve_data(_orchard(home, _serve_archive(served)))
    assert (home / "orchard.zip").read_bytes() == b"the user's own"
    assert sorted(one.name for one in home.iterdir()) == ["orchard", "orchard.yaml", "orchard.zip"]


def test_a_root_that_is_there_in_part_is_a_clear_error_before_anything_is_fetched(
    tmp_path, served, capfd
):
    (tmp_path / "orchard" / "images" / "train").mkdir(parents=True)
    file = _orchard(tmp_path, _serve_archive(served))
    with pytest.raises(
        DataError,
        match=r"images/val is not there, and its archive can't be unpacked to .*holds something "
        r"already",
    ):
        resolve_data(file)
    assert "fetching" not in capfd.readouterr().err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["orchard", "orchard.yaml", "served"]


def test_a_damaged_archive_leaves_nothing_behind(tmp_path, served):
    folder, address = served
    (folder / "orchard.zip").write_bytes(b"PK no zip")
    with pytest.raises(ArchiveError):
        resolve_data(_orchard(tmp_path, f"{address}/orchard.zip"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["orchard.yaml", "served"]


def test_what_is_wrong_with_a_download_entry_is_said_offline_too(tmp_path):
    with pytest.raises(DataError, match="does not name an archive"):
        resolve_data(_orchard(tmp_path, "https://example.org/page.html"), offline=True)


@pytest.mark.parametrize("name", ["data/visdrone.yaml", "data", "visdrone"])
def test_the_shipped_visdrone_yaml_means_visdrone(tmp_path, monkeypatch, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "visdrone.yaml").write_bytes((data_dir() / "visdrone.yaml").read_bytes())
    asked = []

    def prepare(options, **_):
        asked.append((options.dataset, options.source, options.splits))
        return SimpleNamespace(data_yaml=tmp_path / "prepared.yaml", up_to_date=True)

    monkeypatch.setattr("yolo_ema.visdrone.prepare.prepare", prepare)
    assert resolve_data(name, splits=("train", "val")) == tmp_path / "prepared.yaml"
    assert asked == [("visdrone", (), ("train", "val"))]


def test_a_visdrone_without_test_dev_says_how_to_add_it(tmp_path):
    file = _dataset(tmp_path / "visdrone")
    (tmp_path / "visdrone" / "fingerprint.json").write_text("{}")
    with pytest.raises(DataNotFoundError, match="yolo-ema data prepare visdrone --splits test-dev"):
        split_images(file, "test")


def test_the_fingerprint_changes_with_labels_images_and_classes_and_with_nothing_else(tmp_path):
    file = _dataset(tmp_path / "mine")
    first = data_fingerprint(file)
    assert first["splits"]["train"]["images"] == 2
    (tmp_path / "mine").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "mine.yaml"
    moved.write_text(moved.read_text().replace(str(tmp_path / "mine"), str(tmp_path / "moved")))
    assert data_fingerprint(moved) == first
    label = tmp_path / "moved" / "labels" / "val" / "1.txt"
    label.write_text("1 0.5 0.5 0.1 0.1\n")
    changed = data_fingerprint(moved)
    assert changed["splits"]["train"] == first["splits"]["train"]
    assert changed["splits"]["val"] != first["splits"]["val"]
    label.unlink()
    assert data_fingerprint(moved)["splits"]["val"] not in (
        first["splits"]["val"],
        changed["splits"]["val"],
    )


@pytest.mark.realdata
def test_a_folder_in_visdrones_layout_is_prepared_under_its_own_name(tmp_path, shared):
    file = resolve_data(shared / "data" / "visdrone-sample", offline=True)
    assert file.resolve() == tmp_path / "datasets" / "visdrone-sample" / "visdrone.yaml"
    assert len(split_images(file, "train")) == 368
    images = split_images(file, "val")
    assert len(images) == 97
    assert all(label_path(image).is_file() for image in images)
    assert resolve_data(shared / "data" / "visdrone-sample", offline=True) == file
    assert resolve_data(file.parent) == file
    assert "prepared_sha256" in data_fingerprint(file)


def _survey(folder: Path, *splits: str) -> Path:
    """A folder in VisDrone's layout with one image a split, and a row that cannot be read in
    each.
    """
    for split in splits:
        part = folder / f"VisDrone2019-DET-{split}"
        (part / "images").mkdir(parents=True)
        (part / "annotations").mkdir()
        Image.new("RGB", (64, 64)).save(part / "images" / "a.jpg")
        (part / "annotations" / "a.txt").write_text("1,1,9,9,1,4,0,0\n1,2,3\n")
    return folder


def test_two_folders_of_one_name_are_not_mixed(tmp_path):
    first, second = (
        _survey(tmp_path / "a" / "survey", "train", "val"),
        _survey(tmp_path / "b" / "survey", "train"),
    )
    resolve_data(first)
    with pytest.raises(
        ConfigError, match=r"was prepared from .*a/survey \(train\), not from .*b/survey"
    ):
        resolve_data(second)
    assert resolve_data(first)


def test_a_split_that_the_folder_has_no_more_goes_from_its_data_yaml(tmp_path):
    survey = _survey(tmp_path / "survey", "train", "val", "test-dev")
    assert len(split_images(resolve_data(survey), "test")) == 1
    shutil.rmtree(survey / "VisDrone2019-DET-test-dev")
    with pytest.raises(DataNotFoundError):
        split_images(resolve_data(survey), "test")


def test_what_a_preparation_finds_is_said_once_on_stderr(tmp_path, capfd):
    survey = _survey(tmp_path / "survey", "train", "val")
    file = resolve_data(survey)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "train: not an official split" in shown.err
    assert "anomalies: 2 field-count" in shown.err
    assert (
        f"{survey}/VisDrone2019-DET-val/annotations/a.txt, row 2: 3 fields, expected 8" in shown.err
    )
    assert resolve_data(survey) == file
    assert capfd.readouterr().err == ""


def test_cocos_json_is_told_the_way(tmp_path):
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"yolo-ema data prepare coco --annotations .*train\.json --images DIR"
    ):
        resolve_data(tmp_path / "train.json")


def test_visdrone_is_not_fetched_offline():
    with pytest.raises(OfflineError):
        resolve_data("visdrone", offline=True)
