"""The card of published weights: what they were trained on and how, their figures, and the file's
SHA-256.

The figures are in ``<name>.json``; ``<name>.md`` repeats them as tables between two marks, amid
text written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from yolo_ema.engine.data.data_yaml import read_data
from yolo_ema.engine.data.dataset_lookup import resolve_data
from yolo_ema.engine.data.label_files import label_row_length, read_label_file
from yolo_ema.engine.data.split_files import label_path, split_images
from yolo_ema.engine.training import run_record
from yolo_ema.engine.weights.release import release_weights, without_folders
from yolo_ema.errors import ConfigError, DataError, did_you_mean
from yolo_ema.evaluate.plan_comparison import compare_plans
from yolo_ema.evaluate.validation import validate
from yolo_ema.inference.object_sizes import measured_sizes
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json, write_text
from yolo_ema.io.image_header import image_wh
from yolo_ema.options.val import ValOptions
from yolo_ema.report.card_tables import DEFAULT, NONE, card_tables

LICENCE = (
    "Weights trained from VisDrone2019: for academic, non-commercial use only (CC BY-NC-SA 3.0, as "
    "the dataset). "
    "The code that made and runs them: AGPL-3.0."
)
BEGIN, END = "<!-- figures: made by scripts/weights_card.py -->", "<!-- end of figures -->"
_OF_TRAINING = ("file", "licence", "classes", "training")
_EXPORTED = (".onnx", ".torchscript", ".xml", ".bin")


@dataclass(frozen=True)
class Setting:
    """What weights are scored at: input size in pixels, None for the weights' own choice, and tiles
    as ``val`` takes them.

    Its text form is ``640`` or, in tiles, ``640@auto`` or ``640@640x640``; ``default`` is what
    ``val`` does without ``--imgsz`` and ``--tile``.
    """

    imgsz: int | None
    tile: str = "off"

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Return the setting. Raises `ConfigError` for another form."""
        if text == "default":
            return cls(None, "recommended")
        match = re.fullmatch(r"(\d+)(?:@(auto|\d+x\d+))?", text)
        if not match:
            raise ConfigError(
                f"the setting is {text!r}; expected default, an input size, or one and tiles, as "
                f"in 640, 640@auto, 640@640x640{did_you_mean(text, ['default'])}"
            )
        return cls(int(match[1]), match[2] or "off")

    @property
    def text(self) -> str:
        """Return it as tables show it."""
        if self.imgsz is None:
            return DEFAULT
        return f"{self.imgsz}, whole" if self.tile == "off" else f"{self.imgsz}, tiles {self.tile}"


def make_card(
    run: Path,
    out: Path,
    *,
    data: str,
    settings: Sequence[Setting],
    recommended: Setting,
    notes: Mapping[str, Any],
    average_with: tuple[Path, float] | None = None,
    plans: bool = False,
) -> dict[str, Any]:
    """Publish a run's last weights as ``out`` (a ``.pt``), score them, and write and return their
    card as JSON.

    Args:
        run: the run's folder, with ``run.json`` and ``weights/last.pt``.
        out: the file to write.
        data: the dataset whose val split they are scored on, as ``val`` takes it.
        settings: what to score them at.
        recommended: the one that the card recommends.
        notes: further facts for the card: hours (None if unknown), and note, what was done besides
            the recorded command.
        average_with: a file to average the run's weights with, and its share, 0 to 1.
        plans: let the weights carry how each plan does, as ``val --plans --write`` does.

    Raises:
        ConfigError: the recommended setting is not among those scored, or a share out of range.
        DataError: the run has no record.
        WeightsError: its weights or the other file cannot be loaded, or do not fit each other.
    """
    _check_recommended(recommended, settings)
    record = _record(run)
    sizes = _object_sizes(resolve_data(data), record["settings"]["imgsz"])
    facts = _facts(record, out, notes)
    if average_with is not None:
        file, share = average_with
        averaged = {"file": file.name, "sha256": sha256_of(file), "share": share}
        facts["training"]["averaged_with"] = averaged
    last = run / "weights" / "last.pt"
    release_weights(last, out, licence=LICENCE, facts=sizes, average_with=average_with)
    return _score(out, facts, data=data, settings=settings, recommended=recommended, plans=plans)


def renew_card(
    weights: Path,
    *,
    data: str,
    settings: Sequence[Setting],
    recommended: Setting,
    plans: bool = False,
) -> dict[str, Any]:
    """Score published weights anew, and write and return their card's JSON; what it says of their
    training stays. The arguments are those of `make_card`.

    Raises:
        ConfigError: the recommended setting is not among those scored.
        DataError: the weights have no card.
    """
    _check_recommended(recommended, settings)
    path = weights.with_suffix(".json")
    if not path.is_file():
        raise DataError(f"{path} is missing; expected the card that is to be renewed")
    card = read_json(path)
    facts = {key: card[key] for key in _OF_TRAINING}
    return _score(
        weights, facts, data=data, settings=settings, recommended=recommended, plans=plans
    )


def _check_recommended(recommended: Setting, settings: Sequence[Setting]) -> None:
    if recommended not in settings:
        raise ConfigError(
            f"the recommended setting {recommended.text!r} is not among those to score"
        )


def _score(
    weights: Path,
    facts: Mapping[str, Any],
    *,
    data: str,
    settings: Sequence[Setting],
    recommended: Setting,
    plans: bool,
) -> dict[str, Any]:
    """Score published weights at each setting, and write and return the card's JSON beside them."""
    if plans:
        compare_plans(ValOptions(weights=weights, data=data, plans=True, write=True, device="cpu"))
    figures = [_figures(weights, data, setting) for setting in settings]
    card = {
        **facts,
        "sha256": sha256_of(weights),
        "bytes": weights.stat().st_size,
        "hardware_of_figures": run_record.hardware(),
    }
    card |= {"recommended": recommended.text, "figures": figures, "exported": _exported(weights)}
    write_json(weights.with_suffix(".json"), card)
    return card


def _exported(weights: Path) -> dict[str, str]:
    """Return the SHA-256 of the exported files and OpenVINO folders beside weights, by path."""
    beside = (
        path
        for precision in ("", "-fp16", "-int8")  # as export names them
        for pattern in (".*", "_openvino_model/*")
        for path in weights.parent.glob(f"{weights.stem}{precision}{pattern}")
    )
    exported = sorted(path for path in beside if path.suffix in _EXPORTED)
    return {path.relative_to(weights.parent).as_posix(): sha256_of(path) for path in exported}


def _record(run: Path) -> dict[str, Any]:
    path = run / "run.json"
    if not path.is_file():
        raise DataError(f"{path} is missing; expected the folder of a training run with its record")
    content: dict[str, Any] = read_json(path)
    return content


def _facts(record: Mapping[str, Any], out: Path, notes: Mapping[str, Any]) -> dict[str, Any]:
    command = " ".join(
        PureWindowsPath(word).name if re.search(r"[/\\]", word) else word
        for word in record["command"].split()
    )
    epochs, carried = record["epochs"], record["transfer"]
    curve = [
        {
            "epoch": row["epoch"],
            "mAP50-95": row["metrics/mAP50-95(B)"],
            "mAP50": row["metrics/mAP50(B)"],
        }
        for row in epochs
    ]
    kept: dict[str, Any] = without_folders(
        {key: record[key] for key in ("drone", "versions", "data")}
    )
    return {
        "file": out.name,
        "licence": LICENCE,
        "classes": record["data"]["names"],
        "training": {
            "command": command,
            "commit": record["commit"],
            "seed": record["seed"],
            "started": record["started"],
            "ended": record["ended"],
            "epochs": len(epochs),
            "hardware": {
                key: record["hardware"][key] for key in ("machine", "processor", "cores", "gpus")
            },
            "transferred_tensors": f"{carried['tensors']} of {carried['of']}" if carried else NONE,
            "ultralytics_curve_val": curve,
            **kept,
            **notes,
        },
    }


def _object_sizes(data_yaml: Path, imgsz: int) -> dict[str, float]:
    """Return how large the training objects are, as the trainer measures it."""
    labels = []
    data = read_data(data_yaml)
    for image in split_images(data_yaml, "train"):
        width, height = image_wh(image)
        image_labels = read_label_file(
            label_path(image),
            class_count=len(data["names"]),
            problems=[],
            notes=[],
            row_length=label_row_length(data),
        )
        labels.append({"shape": (height, width), "bboxes": image_labels.rows[:, 1:5]})
    return measured_sizes(labels, imgsz)


def _figures(weights: Path, data: str, setting: Setting) -> dict[str, Any]:
    imgsz = () if setting.imgsz is None else (setting.imgsz,)
    result = validate(
        ValOptions(weights=weights, data=data, imgsz=imgsz, tile=setting.tile, device="cpu")
    )
    scorecard = result.scorecard.as_json()
    return {
        "setting": setting.text,
        "imgsz": setting.imgsz,
        "tile": setting.tile,
        "ms_per_image": round(1000 * sum(result.seconds_per_image.values()), 1),
        **{
            key: scorecard[key]
            for key in ("official", "official_macro", "coco", "per_class", "thresholds")
        },
        "images": scorecard["protocol"]["images"],
        "tiles": scorecard["protocol"]["tiles"],
    }


def write_tables(card_json: Path) -> None:
    """Renew the tables in the Markdown file beside a card's JSON, which is created if missing, and
    the SHA-256 of exported files in the JSON.

    Raises:
        DataError: the file lacks the marks.
    """
    page = card_json.with_suffix(".md")
    text = (
        page.read_text(encoding="utf-8") if page.is_file() else f"# {page.stem}\n\n{BEGIN}\n{END}\n"
    )
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise DataError(
            f"{page} needs the marks {BEGIN} and {END} exactly once: the tables go between them"
        )
    card = read_json(card_json)
    write_json(card_json, card | {"exported": _exported(card_json.with_name(card["file"]))})
    before, _, rest = text.partition(BEGIN)
    write_text(page, f"{before}{BEGIN}\n{card_tables(card)}\n{END}{rest.partition(END)[2]}")
