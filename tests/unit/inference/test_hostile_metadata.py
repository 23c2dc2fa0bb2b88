"""What a file says of itself may be anything: it is run, or refused in one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from drawn_onnx import ENTRIES, NAMES, ROWS, write_onnx

from yolo_ema.errors import DamagedWeightsError, WeightsError
from yolo_ema.inference import file_metadata
from yolo_ema.inference.exported import ExportedPredictor
from yolo_ema.inference.file_metadata import ArtifactMetadata, onnx_entries, yaml_entries
from yolo_ema.inference.predictor import PredictorConfig

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
IMAGE = np.full((64, 96, 3), 90, np.uint8)
CPU = PredictorConfig(device="cpu")

REFUSED = {
    "names": [
        "{}",
        "[]",
        "car",
        "{0: 'a'}",
        "{0: 'a', 1: 'b', 5: 'c'}",
        "{'zero': 'a', 'one': 'b', 'two': 'c'}",
        "{-1: 'a', 0: 'b', 1: 'c'}",
        "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}",
        "{[]: 1}",
        "__import__('os').system('true')",
        "(" * 5000,
        "-" * 100_000 + "1",
        "{0: 'a', 1: 'b', 2: '" + "c" * (1 << 20) + "'}",
        "9" * 5000,
        "\x00",
        "7",
    ],
    "imgsz": ["640", "[640]", "[0, 64]", "[-64, 64]", "[1e300, 64]", "['64', 64]", "[10**9, 64]"],
    "stride": ["wide", "0", "-32", "1e999", "32.5", "[32]", "9" * 40],
    "batch": ["0", "many", "-1", "[1]", "10000000000"],
    "channels": ["x", "0", "4"],
    "args": ["nms", "[1]", "{'nms': ", "{1, 2}"],
    "end2end": ["maybe", "[]"],
    "max_det": ["-5", "lots"],
    "task": ["segment", "7"],
}


@pytest.mark.parametrize(
    ("key", "text"), [(key, text) for key, texts in REFUSED.items() for text in texts]
)
def test_nonsensical_entries_are_refused_by_name(tmp_path, key, text):
    path = write_onnx(tmp_path / "odd.onnx", {**ENTRIES, key: text})
    with pytest.raises(WeightsError) as raised:
        ExportedPredictor(path, CPU)
    said = str(raised.value)
    assert str(path) in said
    assert len(said) < 400
    assert key in said or "names" in said or "segment" in said or "channels" in said


@pytest.mark.parametrize(
    "entries",
    [
        {},
        ENTRIES,
        {key: value for key, value in ENTRIES.items() if key != "names"},
        {**ENTRIES, "names": ["a", "b", "c"]},
        {**ENTRIES, "names": {"0": "a", "1": 2, "2": None}},
        {**ENTRIES, "names": "{0: 'a\\d', 1: 'b', 2: 'c'}"},
        {**ENTRIES, "stride": "32.0"},
        {**ENTRIES, "blocks": "x" * 1000, "license": "((", "producer": "[", "precision": "{"},
        {**ENTRIES, "object_source_median_px": "nan", "object_input_tenth_px": "1e999"},
        {**ENTRIES, "imgsz": "[640, 640]"},
        {**ENTRIES, "": "", "x": "y" * 100_000},
        {**ENTRIES, "kpt_shape": "((((", "conf": "0.5.5", "iou": "[]", "letterbox_value": "grey"},
    ],
)
def test_entries_irrelevant_to_running_may_be_anything(tmp_path, entries):
    predictor = ExportedPredictor(write_onnx(tmp_path / "odd.onnx", entries), CPU)
    (boxes,) = predictor([IMAGE])
    expected = [[15, 15, 25, 25, 0.9, 0], [50, 22, 70, 38, 0.8, 1]]
    np.testing.assert_allclose(boxes, expected, atol=1e-5)
    assert predictor.imgsz_hw == (64, 96)  # the file's own input, whatever it says
    assert all(isinstance(name, str) for name in predictor.names.values())
    assert len(predictor.names) == 3


def test_a_file_from_another_tool_names_no_classes(tmp_path):
    predictor = ExportedPredictor(write_onnx(tmp_path / "other.onnx", {}), CPU)
    assert predictor.names == {0: "class0", 1: "class1", 2: "class2"}
    assert (predictor.metadata, predictor.stride) == (ArtifactMetadata(), 32)


def test_boxes_that_need_no_nms_are_known_by_their_columns(tmp_path):
    rows = np.array([[[1, 2, 30, 40, 0.5, 2], [5, 6, 7, 8, 0.9, 0], [0, 0, 0, 0, 0, 0]]])
    path = write_onnx(tmp_path / "free.onnx", {"names": NAMES}, answer=rows)
    predictor = ExportedPredictor(path, CPU)
    assert predictor.has_builtin_nms
    assert predictor.candidates(IMAGE) is predictor.proposals(IMAGE) is None
    np.testing.assert_allclose(predictor([IMAGE])[0], rows[0, [1, 0]], atol=1e-5)
    assert predictor.max_det == 3


def test_unnamed_classes_are_refused(tmp_path):
    rows = np.array([[[1, 2, 30, 40, 0.5, 7]]])
    path = write_onnx(tmp_path / "free.onnx", {"names": NAMES, "end2end": True}, answer=rows)
    with pytest.raises(DamagedWeightsError, match=r"class 7.* names the classes 0 to 2"):
        ExportedPredictor(path, CPU)([IMAGE])
    with pytest.raises(DamagedWeightsError, match=r"2 classes.* scores of 3"):
        ExportedPredictor(write_onnx(tmp_path / "few.onnx", {"names": ["a", "b"]}), CPU)


def test_an_answer_of_another_shape_is_refused(tmp_path):
    path = write_onnx(tmp_path / "flat.onnx", {"names": NAMES}, answer=np.zeros((1, 7)))
    with pytest.raises(DamagedWeightsError, match=r"shape \(1, 7\); expected"):
        ExportedPredictor(path, CPU)([IMAGE])


def test_nan_boxes_and_scores_are_never_detections(tmp_path):
    rows = np.full((4, 7), np.nan)
    rows[0] = ROWS[0]
    rows[1, 4:] = 0.9
    path = write_onnx(tmp_path / "nan.onnx", answer=rows.T[None])
    (boxes,) = ExportedPredictor(path, CPU)([IMAGE])
    assert np.isfinite(boxes[:, 4:]).all()
    assert [15, 15, 25, 25] in boxes[:, :4].tolist()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\x72\xff\xff\xff\xff\x0f", b"\xff" * 100, b"\x72\x02\x0a\x05a", b"?"],
)
def test_other_files_have_no_entries(tmp_path, content):
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    assert onnx_entries(path) == {}
    with pytest.raises(DamagedWeightsError, match="damaged or not an onnx model"):
        ExportedPredictor(path, CPU)


def test_entries_are_those_of_onnx(tmp_path):
    import onnx

    path = write_onnx(tmp_path / "plain.onnx", {**ENTRIES, "naïve": "čau", "empty": ""})
    wanted = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert onnx_entries(path) == wanted
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.onnx").write_bytes(whole[:length])
        assert set(onnx_entries(tmp_path / "cut.onnx")) <= set(wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b\n", "not valid YAML"),
        ("- 1\n- 2\n", "holds a list; expected entries"),
        ("7", "holds a int"),
        ("a: &x [1, 2]\nb: &y [*x, *x, *x, *x]\n" + "c: [*y]\n" * 2, "given twice"),
        ("x" * 2_000_000, "more than"),
        ("[" * 5000, "nested|valid YAML"),
        ("names: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_yaml_is_bounded_and_plain(tmp_path, text, message):
    (tmp_path / "metadata.yaml").write_text(text)
    with pytest.raises(DamagedWeightsError, match=message):
        yaml_entries(tmp_path)


def test_yaml_beside_the_file_or_in_the_folder(tmp_path):
    assert yaml_entries(tmp_path) == {}
    (tmp_path / "metadata.yaml").write_text(yaml.safe_dump({**ENTRIES, 7: 8}))
    assert yaml_entries(tmp_path) == yaml_entries(tmp_path / "model.xml") == {**ENTRIES, "7": 8}


def test_texts_are_read_as_plain_values_only():
    assert file_metadata._value("__import__('os')") == "__import__('os')"
    assert file_metadata._value("{0: 'a'}") == {0: "a"}
