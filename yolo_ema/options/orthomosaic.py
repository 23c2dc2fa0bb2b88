"""Options about GeoTIFFs and other aerial images that are read window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from yolo_ema.options.fields import Options, option

ORTHOMOSAIC = "orthomosaics"
"""Heading of what concerns GeoTIFFs."""

_orthomosaic_option = partial(option, group=ORTHOMOSAIC)


@dataclass(frozen=True, kw_only=True)
class OrthomosaicOptions(Options):
    """Which TIFFs are read window by window, and how their values become 8-bit colours."""

    GROUPS: ClassVar[tuple[str, ...]] = (ORTHOMOSAIC,)

    georeference: bool = _orthomosaic_option(
        True,
        help="read a TIFF that has a georeference window by window and give polygons in its "
        "projection; without, it is an image like any other",
    )
    bands: tuple[int, ...] = _orthomosaic_option(
        (),
        metavar="R,G,B",
        help="bands of a GeoTIFF to take for red, green and blue, or a single one for grey, "
        "counted from 1; default: by the colours that the file names, else its first three",
    )
    stretch: tuple[float, ...] = _orthomosaic_option(
        (),
        metavar="LOW,HIGH",
        help="values of a GeoTIFF that become black and white; default: 8-bit values unchanged, "
        "otherwise the 2nd and 98th percentile of the whole file",
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if self.bands and (len(self.bands) not in {1, 3} or min(self.bands) < 1):
            yield (
                f"--bands is {','.join(map(str, self.bands))}; expected three bands for red, green "
                f"and blue, or one for grey, counted from 1, as in 3,2,1"
            )
        if self.stretch and (len(self.stretch) != 2 or not self.stretch[0] < self.stretch[1]):
            yield (
                f"--stretch is {','.join(f'{value:g}' for value in self.stretch)}; expected the "
                f"value that becomes black and a larger one that becomes white, as in 0,4000"
            )
