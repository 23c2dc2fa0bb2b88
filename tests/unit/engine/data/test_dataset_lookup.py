"""From what a user calls a dataset to its data YAML."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from yaml_datasets import write_dataset

from yolo_ema.engine.data.data_yaml import DATASETS, read_data
from yolo_ema.engine.data.dataset_lookup import named_yaml, resolve_data
from yolo_ema.engine.data.split_files import (
    data_fingerprint,
    label_path,
    split_images,
)
from yolo_ema.errors import ArchiveError, ConfigError, DataError, DataNotFoundError, OfflineError
from yolo_ema.io.resources import data_dir


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("yolo_ema.engine.setup.ultralytics_settings.user_settings", dict)


def test_a_data_yaml_a_folder_with_one_and_its_path_as_text_mean_the_same(tmp_path):
    file = write_dataset(tmp_path / "mine")
    assert resolve_data(file) == resolve_data(str(file)) == resolve_data(tmp_path / "mine") == file


def test_a_folder_with_several_data_yamls_asks_which(tmp_path):
    file = write_dataset(tmp_path / "mine")
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
    with pytest.raises(DataNotFoundError, match=r"'https://host/x\.yaml'"):
        resolve_data("https://user:secret@host/x.yaml")


def test_every_detection_yaml_that_ultralytics_ships_is_found_and_read():
    for name in ("coco", "coco8", "coco128.yaml", "VOC", "african-wildlife", "SKU-110K"):
        data = read_data(named_yaml(name))
        assert data["nc"] == len(data["names"]) >= 1
        assert data["path"].is_absolute()


def test_a_missing_shipped_dataset_is_not_fetched_offline():
    with pytest.raises(OfflineError, match="--offline"):
        resolve_data("coco8", offline=True)


def test_missing_images_without_a_download_entry_say_what_is_missing(tmp_path):
    file = write_dataset(tmp_path / "mine", val="images/nothing")
    with pytest.raises(
        DataNotFoundError, match=r"images/nothing does not exist, and no 'download' entry"
    ):
        resolve_data(file)


def test_a_script_in_a_data_yaml_runs_only_when_trusted(tmp_path, capfd):
    script = (
        "from pathlib import Path\nPath('ran').write_text(str(yaml['path']))\n(yaml['path'] "
        "/ "
        "'images' / 'late').mkdir()\n"
    )
    file = write_dataset(tmp_path / "mine", val="images/late", download=script)
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
    assert "Path('ran')" in shown.err  # what runs is reported
    assert "how much it fetches is not known before, and the licence is not stated" in shown.err


def test_a_script_that_fails_is_an_error(tmp_path):
    file = write_dataset(tmp_path / "mine", val="images/late", download="raise SystemExit(3)")
    with pytest.raises(DataError, match="exit code 3"):
        resolve_data(file, trust=True)
    file = write_dataset(tmp_path / "other", val="images/late", download="pass")
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
def test_an_archive_is_fetched_after_announcing_what_and_how_large(tmp_path, served, capfd, top):
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
    ]  # the archive and everything next to it are gone
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


def test_a_users_archive_next_to_the_root_is_left_alone(tmp_path, served):
    home = tmp_path / "home"
    home.mkdir()
    (home / "orchard.zip").write_bytes(b"the user's own")
    (home / "orchard").mkdir()  # an empty root is as good as none
    assert resolve_data(_orchard(home, _serve_archive(served)))
    assert (home / "orchard.zip").read_bytes() == b"the user's own"
    assert sorted(one.name for one in home.iterdir()) == ["orchard", "orchard.yaml", "orchard.zip"]


def test_an_incomplete_root_is_a_clear_error_before_anything_is_fetched(tmp_path, served, capfd):
    (tmp_path / "orchard" / "images" / "train").mkdir(parents=True)
    file = _orchard(tmp_path, _serve_archive(served))
    with pytest.raises(
        DataError,
        match=r"images/val does not exist, and its archive can't be unpacked to .*holds something "
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


def test_a_bad_download_entry_is_reported_offline_too(tmp_path):
    with pytest.raises(DataError, match="does not name an archive"):
        resolve_data(_orchard(tmp_path, "https://example.org/page.html"), offline=True)


@pytest.mark.parametrize("name", ["data/visdrone.yaml", "data", "visdrone"])
def test_the_shipped_visdrone_yaml_means_visdrone(tmp_path, monkeypatch, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "visdrone.yaml").write_bytes((data_dir() / "visdrone.yaml").read_bytes())
    asked = []

    def prepare(options, **_):
        asked.append((options.dataset, options.source, options.splits))
        return SimpleNamespace(data_yaml=tmp_path / "prepared.yaml", up_to_date=True, failures=())

    monkeypatch.setattr("yolo_ema.visdrone.prepare.prepare", prepare)
    assert resolve_data(name, splits=("train", "val")) == tmp_path / "prepared.yaml"
    assert asked == [("visdrone", (), ("train", "val"))]


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


def test_a_split_removed_from_the_folder_is_removed_from_its_data_yaml(tmp_path):
    survey = _survey(tmp_path / "survey", "train", "val", "test-dev")
    assert len(split_images(resolve_data(survey), "test")) == 1
    shutil.rmtree(survey / "VisDrone2019-DET-test-dev")
    with pytest.raises(DataNotFoundError):
        split_images(resolve_data(survey), "test")


def test_the_findings_of_a_preparation_are_reported_once_on_stderr(tmp_path, capfd):
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


def test_coco_json_gets_instructions(tmp_path):
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"yolo-ema data prepare coco --annotations .*train\.json --images DIR"
    ):
        resolve_data(tmp_path / "train.json")


def test_visdrone_is_not_fetched_offline():
    with pytest.raises(OfflineError):
        resolve_data("visdrone", offline=True)
