"""A small study and records of it, made up, for tests of everything but training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yolo_ema.io.atomic_files import write_json
from yolo_ema.studies.spec import Study
from yolo_ema.studies.spec_reader import read_study

SPEC = """
name: small
question: Does it help?
data: drawn
seeds: [0, 1, 2]
budget: {epochs: 4}
pretrained: yolo11n.pt
train: {model: yolo11n, imgsz: 64, batch: 4, nbs: 4}
arms:
  none: {}
  ema: {model: yolo11n-ema}
baseline: none
evaluate: {imgsz: [64, 96]}
"""

DATA = {
    "name": "drawn",
    "names": ["square", "bar"],
    "train": {"images": 12, "sha256": "a" * 64},
    "val": {"images": 4, "sha256": "b" * 64},
}


def write_spec(folder: Path, text: str = SPEC, name: str = "small.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def small_study(folder: Path, text: str = SPEC) -> Study:
    return read_study(write_spec(folder, text))


def made_up_record(
    study: Study, arm: str, seed: int, figures: dict[str, float], **changed: Any
) -> dict[str, Any]:
    """Return a record whose official AP at each setting is the one given; other figures follow from
    it.
    """
    by_key = {at.key: at for at in study.evaluations}
    evaluations = {
        key: {
            "settings": by_key[key].model_dump(),
            "official": {"AP": value, "AP50": 2 * value, "AR500": 3 * value},
            "official_macro": {"AP": value / 2},
            "coco": {"AP": value - 1, "AP50": 2 * value - 1, "AP_small": None},
            "per_class": {},
            "images": 4,
            "operations": by_key[key].imgsz * 10_000_000,
            "ms_per_image": {
                "wall": 20.0 + by_key[key].imgsz,
                "process": 10.0 + by_key[key].imgsz,
                "clock": "process",
            },
            "commit": "f" * 40,
        }
        for key, value in figures.items()
    }
    return {
        "study": study.name,
        "arm": arm,
        "seed": seed,
        "settings_sha256": study.settings_sha256(study.arm(arm)),
        "settings": study.settings(study.arm(arm)),
        "data": DATA,
        "pretrained": {"name": study.pretrained, "sha256": "c" * 64},
        "baseline_model_sha256": study.arm(study.baseline).model_sha256,
        "commit": "e" * 40,
        "versions": {"torch": "2.15.0"},
        "hardware": {"processor": "made up", "threads": 1},
        "weights_sha256": "d" * 64,
        "parameters": 2_590_230,
        "training": {"epochs": 4, "process_seconds": 3600.0, "wall_seconds": 7200.0},
        "curve": {
            "AP (Ultralytics)": [
                min(figures.values(), default=1.0) * share / 400 for share in (1, 2, 3, 4)
            ]
        },
        "evaluations": evaluations,
        **changed,
    }


def write_record(folder: Path, record: dict[str, Any]) -> Path:
    path = folder / f"{record['arm']}-seed{record['seed']}.json"
    write_json(path, record)
    return path


def write_records(folder: Path, study: Study, figures: dict[tuple[str, int], float]) -> Path:
    """Write records: arm and seed → official AP at the first setting; at each further setting it is
    one higher.
    """
    for (arm, seed), value in figures.items():
        at_each = {at.key: value + place for place, at in enumerate(study.evaluations)}
        write_record(folder, made_up_record(study, arm, seed, at_each))
    return folder
