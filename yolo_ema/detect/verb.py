"""The ``detect`` verb of the command line: footage, or orthomosaics."""

from __future__ import annotations

from yolo_ema.detect.orthomosaic_result import OrthomosaicResult
from yolo_ema.detect.orthomosaic_sources import orthomosaics_in
from yolo_ema.detect.result import DetectResult
from yolo_ema.detect.run import detect
from yolo_ema.io.text_files import say
from yolo_ema.options.detect import DetectOptions


def detect_any(options: DetectOptions) -> DetectResult | OrthomosaicResult:
    """Detect on images, videos and streams as `detect` does; GeoTIFFs, and TIFFs that are too
    large for an image, go window by window as in `detect_orthomosaics`.

    Raises what those do.
    """
    orthomosaics, remarks = orthomosaics_in(options)
    for remark in remarks:
        say(f"yolo-ema: {remark}")
    if not orthomosaics:
        return detect(options)
    from yolo_ema.detect.orthomosaic import detect_orthomosaics  # only here: few runs need it

    return detect_orthomosaics(options, orthomosaics)
