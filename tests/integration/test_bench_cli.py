"""``yolo-ema bench`` as a user calls it."""

from __future__ import annotations

import cv2
import pytest
from lively_weights import lively_model, picture, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bench")
    save(lively_model("tiny"), place / "tiny.pt")
    (place / "empty.pt").write_bytes(b"")
    for number in range(2):
        cv2.imwrite(str(place / f"{number}.png"), picture(number))
    return place


@pytest.mark.slow
def test_runtimes_take_turns_and_faults_are_rows_of_their_own(folder, yolo_ema_command):
    (folder / "damaged.onnx").write_bytes(b"no network")
    done = yolo_ema_command(
        *(
            "bench",
            "--weights",
            "tiny.pt",
            "--format",
            "onnx,engine",
            "--artifact",
            "damaged.onnx",
            "gone.onnx",
        ),
        *(
            "--imgsz",
            "96,160",
            "--images",
            "0.png",
            "1.png",
            "--rounds",
            "3",
            "--threads",
            "1",
            "--device",
            "cpu",
            "--json",
        ),
        cwd=folder,
    )
    assert done.code == 0, done.err
    found = done.json
    weights, onnx, engine, damaged, gone = found["rows"]
    assert [one["ran"] for one in found["rows"]] == [True, True, False, False, False]
    assert (weights["runtime"], onnx["runtime"]) == ("pt", "onnx")
    for one in (weights, onnx):
        assert one["imgsz_hw"] == [96, 160]
        assert (
            one["threads"],
            one["stored_precision"],
            one["computed_precision"],
            one["device"],
        ) == (1, "fp32", "fp32", "cpu")
        assert (
            0
            < one["latency_s"]["network_median"]
            < one["latency_s"]["median"]
            <= one["latency_s"]["p95"]
        )
        assert len(one["latency_s"]["round_medians"]) == 3
        assert one["peak_memory_bytes"] > one["memory_before_bytes"] > 50e6
        assert one["images_per_s"] > 0
    assert (weights["images_a_call"], onnx["images_a_call"]) == (4, 1)
    assert weights["file_bytes"] == (folder / "tiny.pt").stat().st_size
    agreement = onnx["agreement"]
    assert agreement["boxes"] > 10
    assert agreement["same"], agreement
    assert "GPU" in engine["reason"]
    assert "damaged.onnx" in damaged["reason"]
    assert "there is no file gone.onnx" in gone["reason"]
    assert found["rounds"] == 3
    assert found["hardware"]["cores"] >= 1
    assert found["image_sizes_wh"] == [[320, 192]]
    assert found["recommendation"].startswith("Take ")
    assert sorted(path.name for path in folder.iterdir()) == [
        "0.png",
        "1.png",
        "damaged.onnx",
        "empty.pt",
        "tiny.pt",
    ]  # nothing is left


@pytest.mark.slow
def test_a_program_is_not_run_without_trust_and_the_table_says_so(folder, yolo_ema_command):
    (folder / "tiny.torchscript").write_bytes(b"anything")
    done = yolo_ema_command(
        *(
            "bench",
            "--weights",
            "tiny.pt",
            "--artifact",
            "tiny.torchscript",
            "--imgsz",
            "96",
            "--images",
            "0.png",
        ),
        *("--rounds", "1", "--device", "cpu"),
        cwd=folder,
    )
    (folder / "tiny.torchscript").unlink()
    assert done.code == 0, done.err
    assert "tiny.torchscript: did not run: tiny.torchscript is refused" in done.out
    assert "--trust" in done.out
    assert "Take the .pt" in done.out


@pytest.mark.slow
def test_where_nothing_runs_the_exit_code_says_so(folder, yolo_ema_command):
    done = yolo_ema_command(
        *("bench", "--weights", "tiny.pt", "--artifact", "gone.onnx", "--images", "0.png"),
        *("--rounds", "1", "--device", "cuda:63"),
        cwd=folder,
    )
    assert done.code == 6
    assert "Nothing ran here" in done.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--weights", "tinny.pt"), 4, "did you mean 'tiny.pt'"),
        (("--weights", "0.png"), 2, "expected a .pt"),
        (("--weights", "empty.pt", "--format", "onnx"), 4, "empty.pt is empty"),
        (("--weights", "tiny.pt", "--images", "nowhere.png"), 3, "there is nothing at"),
        (("--weights", "tiny.pt", "--format", "onyx"), 2, "onnx"),
    ],
)
def test_invalid_arguments_give_one_clear_line(folder, yolo_ema_command, words, code, said):
    done = yolo_ema_command("bench", *words, cwd=folder)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
