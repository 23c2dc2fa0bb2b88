"""Options of ``yolo-ema models``."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_ema.options.fields import Options, option


@dataclass(frozen=True, kw_only=True)
class ModelsOptions(Options):
    """Which of the shipped models are listed, and with which attention blocks."""

    names: tuple[str, ...] = option(
        (),
        positional=True,
        metavar="NAME",
        help="only models whose name matches: a name, a part of one, or a pattern such as "
        "yolo11?-ema",
    )
    attention: tuple[str, ...] = option(
        (),
        metavar="BLOCK",
        help="list each model with these attention blocks in EMA's places, too, and without any: "
        "names separated by commas, or all",
    )
