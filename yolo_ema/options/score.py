"""Options of ``yolo-ema score``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """Which result files to score against which annotations."""

    annotations: Path = option(
        metavar="DIR", help="folder of annotation files, one per image, in VisDrone's format"
    )
    results: Path = option(
        metavar="DIR",
        help="folder of result files with the same names: "
        "left,top,width,height,score,category[,-1,-1]",
    )
    images: Path | None = option(None, metavar="DIR", help="folder of the images, for their sizes")
    sizes: Path | None = option(
        None,
        metavar="CSV",
        help="table with the columns image,width,height (pixels), in place of --images",
    )
    as_is: bool = option(
        False,
        help="keep the order of the rows in each file, as the official toolkit does, instead of "
        "sorting by score",
    )
    strict: bool = option(
        False,
        help="refuse to score if a row of the ground truth cannot be read, instead of skipping it",
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        if (self.images is None) == (self.sizes is None):
            both = "both are given" if self.images is not None else "neither is given"
            yield f"the images' sizes come from --images DIR or --sizes CSV; {both}"
