"""The tables of a card of weights, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT = "by default"
"""The setting that ``val`` takes without ``--imgsz`` and ``--tile``, as tables show it."""

NONE = "none"
"""What a card says in place of how many tensors were carried over, where none were."""

_AVERAGED = "`{file}`, SHA-256 `{sha256}`, whose share is {share:.0%}"
_FIGURES = ("AP", "AP50", "AP75", "AR500")


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
        ("carried over", _tensors(training["transferred_tensors"])),
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
        at = setup if setup == DEFAULT else f"at {setup}"
        title = (
            f"By class {at} (official AP, AP50 / COCO AP, AP50; the threshold of the best F1 "
            f"at IoU 0.5):"
        )
        lines += ["", title, "", *_class_table(shown)]
    return "\n".join(lines)


def _tensors(carried_over: str) -> str:
    return carried_over if carried_over == NONE else f"{carried_over} tensors"


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
