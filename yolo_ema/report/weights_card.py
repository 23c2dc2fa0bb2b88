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
from yolo_ema.errors import ConfigError, DataError
from yolo_ema.evaluate.plan_comparison import compare_plans
from yolo_ema.evaluate.validation import validate
from yolo_ema.inference.object_sizes import measured_sizes
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json, write_text
from yolo_ema.io.image_header import image_wh
from yolo_ema.options.val import ValOptions

LICENCE = (
    "Weights trained from VisDrone2019: for academic, non-commercial use only (CC BY-NC-SA 3.0, as "
    "the dataset). "
    "The code that made and runs them: AGPL-3.0."
)
BEGIN, END = "<!-- figures: made by scripts/weights_card.py -->", "<!-- end of figures -->"
_EXPORTED = (".onnx", ".torchscript", ".xml", ".bin")
_AVERAGED = "`{file}`, SHA-256 `{sha256}`, whose share is {share:.0%}"
_FIGURES = ("AP", "AP50", "AP75", "AR500")


@dataclass(frozen=True)
class Setting:
    """What weights are scored at: input size in pixels, and tiles as ``val`` takes them.

    Its text form is ``640`` or, in tiles, ``640@auto`` or ``640@640x640``.
    """

    imgsz: int
    tile: str = "off"

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Return the setting. Raises `ConfigError` for another form."""
        match = re.fullmatch(r"(\d+)(?:@(auto|\d+x\d+))?", text)
        if not match:
            raise ConfigError(
                f"the setting is {text!r}; expected an input size, or one and tiles, as in 640, "
                f"640@auto, 640@640x640"
            )
        return cls(int(match[1]), match[2] or "off")

    @property
    def text(self) -> str:
        """Return it as tables show it."""
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
    if recommended not in settings:
        raise ConfigError(
            f"the recommended setting {recommended.text!r} is not among those to score"
        )
    record = _record(run)
    sizes = _object_sizes(resolve_data(data), record["settings"]["imgsz"])
    facts = _facts(record, out, notes)
    if average_with is not None:
        file, share = average_with
        averaged = {"file": file.name, "sha256": sha256_of(file), "share": share}
        facts["training"]["averaged_with"] = averaged
    last = run / "weights" / "last.pt"
    release_weights(last, out, licence=LICENCE, facts=sizes, average_with=average_with)
    if plans:
        compare_plans(ValOptions(weights=out, data=data, plans=True, write=True, device="cpu"))
    return score_card(out, facts, data=data, settings=settings, recommended=recommended)


def score_card(
    weights: Path,
    facts: Mapping[str, Any],
    *,
    data: str,
    settings: Sequence[Setting],
    recommended: Setting,
) -> dict[str, Any]:
    """Score published weights at each setting, and write and return the card's JSON beside them."""
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
    epochs = record["epochs"]
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
            "transferred_tensors": f"{record['transfer']['tensors']} of {record['transfer']['of']}",
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
    result = validate(
        ValOptions(
            weights=weights, data=data, imgsz=(setting.imgsz,), tile=setting.tile, device="cpu"
        )
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


def card_tables(card: Mapping[str, Any]) -> str:
    """Return the card's figures as Markdown."""
    best = next(row for row in card["figures"] if row["setting"] == card["recommended"])
    first = card["figures"][0]
    training, hardware = card["training"], card["training"]["hardware"]
    gpus = ", ".join(gpu["name"] for gpu in hardware["gpus"])
    averaged = training.get("averaged_with")
    facts = [
        ("file", f"`{card['file']}`, {card['bytes'] / 1e6:.2f} MB, half precision"),
        ("SHA-256", f"`{card['sha256']}`"),
        ("terms", card["licence"]),
        ("command", f"`{training['command']}`"),
        ("commit, seed", f"`{training['commit']}`, {training['seed']}"),
        ("epochs", f"{training['epochs']}"),
        *([("hours", f"{training['hours']:.1f} on the clock")] if training["hours"] else []),
        (
            "hardware",
            f"{hardware['processor']}, {hardware['cores']} virtual cores, {gpus or 'no GPU'}",
        ),
        *([("besides", training["note"])] if training["note"] else []),
        *([("averaged with", _AVERAGED.format(**averaged))] if averaged else []),
        ("carried over", f"{training['transferred_tensors']} tensors"),
        (
            "versions",
            ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
        ),
    ]
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts), ""]
    lines += [
        f"Figures in percent on the {first['images']} val images, at most 500 detections an image:",
        "",
    ]
    lines += _figures_table(card["figures"])
    for setup in dict.fromkeys((first["setting"], best["setting"])):
        shown = next(figures for figures in card["figures"] if figures["setting"] == setup)
        title = (
            f"By class at {setup} (official AP, AP50 / COCO AP, AP50; the threshold of the best F1 "
            f"at IoU 0.5):"
        )
        lines += ["", title, "", *_class_table(shown)]
    return "\n".join(lines)


def _figures_table(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    head = [f"official {name}" for name in _FIGURES] + [
        "COCO AP",
        "COCO AP50",
        "small / medium / large",
        "best conf",
        "ms an image",
    ]
    lines = [f"| input | {' | '.join(head)} |", f"| --- |{' ---: |' * len(head)}"]
    for row in figures:
        coco = row["coco"]
        cells = [_percent(row["official"][name]) for name in _FIGURES] + [
            _percent(coco["AP"]),
            _percent(coco["AP50"]),
        ]
        cells.append(
            " / ".join(_percent(coco[f"AP_{size}"]) for size in ("small", "medium", "large"))
        )
        cells += [_threshold(row["thresholds"]["all"]), f"{row['ms_per_image']:.0f}"]
        lines.append(f"| {row['setting']} | {' | '.join(cells)} |")
    return lines


def _class_table(figures: Mapping[str, Any]) -> list[str]:
    lines = [
        "| class | objects | official | COCO | best conf | precision, recall there |",
        "| --- |" + " ---: |" * 5,
    ]
    for name, entry in figures["per_class"].items():
        point = figures["thresholds"]["per_class"].get(name)
        official, coco = (
            f"{_percent(entry[kind]['AP'])}, {_percent(entry[kind]['AP50'])}"
            for kind in ("official", "coco")
        )
        there = f"{_percent(point['precision'])}, {_percent(point['recall'])}" if point else "–"
        lines.append(
            f"| {name} | {entry['objects']['official']} | {official} | {coco} | "
            f"{_threshold(point)} | {there} |"
        )
    return lines


def _threshold(point: Mapping[str, float] | None) -> str:
    return "–" if point is None else f"{point['confidence']:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


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
