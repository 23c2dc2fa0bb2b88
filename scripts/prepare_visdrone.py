"""Download VisDrone, or use your copy, and derive labels: as ``yolo-ema data prepare visdrone``."""

import sys

from yolo_ema.cli import main

if __name__ == "__main__":
    sys.exit(main(["data", "prepare", "visdrone", *sys.argv[1:]]))
