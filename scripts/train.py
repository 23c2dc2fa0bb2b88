"""Train on VisDrone or your own data: the same as ``yolo-ema train``."""

import sys

from yolo_ema.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
