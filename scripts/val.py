"""Score weights on a dataset: the same as ``yolo-ema val``."""

import sys

from yolo_ema.cli import main

if __name__ == "__main__":
    sys.exit(main(["val", *sys.argv[1:]]))
