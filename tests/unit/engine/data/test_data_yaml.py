"""A data YAML: what it may hold, and what is wrong in it."""

from __future__ import annotations

import pytest
from yaml_datasets import write_dataset

from yolo_ema.engine.data.data_yaml import read_data
from yolo_ema.errors import DataError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("yolo_ema.engine.setup.ultralytics_settings.user_settings", dict)


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
def test_classes_are_given_as_list_as_numbers_or_as_a_count(tmp_path, names, nc, expected):
    data = read_data(write_dataset(tmp_path / "mine", names=names, nc=nc))
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
    file = write_dataset(tmp_path / "mine", **entries)
    with pytest.raises(DataError, match=r"mine\.yaml") as caught:
        read_data(file)
    assert what in str(caught.value)


def test_all_mistakes_are_reported_at_once(tmp_path):
    with pytest.raises(
        DataError, match=r"'names' is missing.*'train' is missing.*'val' is missing"
    ):
        read_data(write_dataset(tmp_path / "mine", names=None, train=None, val=None))


def test_a_file_that_is_not_yaml_is_refused(tmp_path):
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
    file = write_dataset(tmp_path / "yamls" / "mine", path="mine")
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


def test_the_root_is_the_first_place_that_has_the_images(tmp_path):
    file = write_dataset(tmp_path / "yamls" / "mine", path=".")
    assert read_data(file)["path"] == file.parent, "the YAML's own folder has them"
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
    assert read_data(file)["path"] == tmp_path, "as for Ultralytics, the working folder comes first"


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ({"names": {"0": "car", "1": "bus"}}, {0: "car", 1: "bus"}),
        ({"names": ["car", True]}, {0: "car", 1: "True"}),
        ({"nc": "2"}, {0: "car", 1: "bus"}),
        ({"nc": 2.0}, {0: "car", 1: "bus"}),
        ({"names": None, "nc": "2"}, {0: "class_0", 1: "class_1"}),
    ],
)
def test_numbers_may_be_written_as_ultralytics_takes_them(tmp_path, entries, names):
    assert read_data(write_dataset(tmp_path / "mine", **entries))["names"] == names


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"nc": 1.5}, "'nc' is 1.5, expected the number of classes"),
        ({"nc": "two"}, "'nc' is 'two'"),
        ({"nc": True}, "'nc' is True"),
        ({"names": None, "nc": 100_000_000}, "'nc' is 100000000"),
        ({"names": {"a": "car"}}, "'names' is {'a': 'car'}"),
        ({"names": [["car"], "bus"]}, "'names' is [['car'], 'bus']"),
        ({"channels": "RGB"}, "'channels' is 'RGB'"),
        ({"kpt_shape": [17]}, "'kpt_shape' is [17]"),
        ({"kpt_shape": "17x3"}, "'kpt_shape' is '17x3'"),
        ({"train": [["images/train"]]}, "'train' is [['images/train']]"),
        ({"train": "a\0b"}, "'train' is 'a\\x00b'"),
        ({"path": 7}, "'path' is 7, expected a folder"),
    ],
)
def test_values_of_another_type_are_named_with_their_file(tmp_path, entries, what):
    with pytest.raises(DataError, match=r"mine\.yaml") as caught:
        read_data(write_dataset(tmp_path / "mine", **entries))
    assert what in str(caught.value)


def test_aliases_that_expand_beyond_bounds_are_refused_at_once(tmp_path):
    levels = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    for entry in ("names: *a8", "names: [car]\ntrain: *a8"):
        file = tmp_path / "bomb.yaml"
        file.write_text("\n".join([*levels, "val: images/val", entry]) + "\n")
        with pytest.raises(DataError, match=r"bomb\.yaml cannot be read as YAML"):
            read_data(file)


def test_a_path_longer_than_allowed_does_not_exist(tmp_path):
    data = read_data(write_dataset(tmp_path / "mine", train="x" * 5000, path="y" * 5000))
    assert data["train"][0].endswith("x" * 5000)


def test_damaged_encodings_and_depths_are_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("names: [Stra\u00dfe]".encode("latin-1"))
    (tmp_path / "deep.yaml").write_text("names: " + "[" * 5000 + "]" * 5000)
    for name in ("latin", "deep"):
        with pytest.raises(DataError, match=rf"{name}\.yaml cannot be read as YAML"):
            read_data(tmp_path / f"{name}.yaml")
