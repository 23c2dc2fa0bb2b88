"""Publish a run's weights with their card: ``python scripts/weights_card.py runs/train/a --out
weights/yolo11n-ema-visdrone.pt …``.

Without a run the figures of a card that is there are measured anew. The text around the tables of
``<out>.md``, which is created if missing, is written by hand;
``--tables`` renews the tables from ``<out>.json``, and there the hashes of exported files, alone.
"""

import argparse
from pathlib import Path

from yolo_ema.errors import ConfigError
from yolo_ema.report.weights_card import Setting, make_card, renew_card, write_tables


def _setting(text: str) -> Setting:
    try:
        return Setting.parse(text)
    except ConfigError as error:  # of other errors argparse shows nothing
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "run",
        type=Path,
        nargs="?",
        help="the run's folder, with run.json and weights/last.pt; without it the figures of the "
        "card beside --out are measured anew",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="the .pt to write; its card goes beside it, as .json and .md",
    )
    parser.add_argument(
        "--data",
        help="prepared dataset or data YAML; the weights are scored on its val split (needed but "
        "for --tables)",
    )
    parser.add_argument(
        "--settings",
        nargs="+",
        type=_setting,
        default=[Setting(640)],
        help="what to score at, as in default 640 960 640@640x640; default is what val does "
        "without --imgsz and --tile",
    )
    parser.add_argument(
        "--recommended",
        type=_setting,
        default=Setting(640),
        help="the setting that the card recommends",
    )
    parser.add_argument(
        "--average-with",
        type=Path,
        metavar="WEIGHTS",
        help="average the run's weights with this .pt, as with what it was fine-tuned from",
    )
    parser.add_argument(
        "--share", type=float, default=0.5, help="share of that file, 0 to 1 (default: 0.5)"
    )
    parser.add_argument(
        "--plans", action="store_true", help="let the weights carry how each plan does, for auto"
    )
    parser.add_argument("--hours", type=float, help="how long the training took, in hours")
    parser.add_argument("--note", default="", help="what was done besides the recorded command")
    parser.add_argument(
        "--tables",
        action="store_true",
        help="only renew the tables in the .md and the hashes of exported files",
    )
    given = parser.parse_args()
    if not given.tables:
        if not given.data:
            parser.error("--data must be given, unless --tables is")
        scored_at = {
            "data": given.data,
            "plans": given.plans,
            "settings": given.settings,
            "recommended": given.recommended,
        }
        if given.run:
            make_card(
                given.run,
                given.out,
                notes={"hours": given.hours, "note": given.note},
                average_with=(given.average_with, given.share) if given.average_with else None,
                **scored_at,
            )
        else:
            renew_card(given.out, **scored_at)
    write_tables(given.out.with_suffix(".json"))
