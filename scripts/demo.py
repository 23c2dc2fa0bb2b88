"""From scratch to a checked ONNX file, on drawn scenes: the same as ``yolo-ema demo``."""

import sys

from yolo_ema.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
