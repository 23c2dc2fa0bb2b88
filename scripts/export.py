"""Write weights in a format for deployment: the same as ``yolo-ema export``."""

import sys

from yolo_ema.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
