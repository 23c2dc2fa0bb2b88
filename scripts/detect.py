"""Find objects in images, folders and videos: the same as ``yolo-ema detect``."""

import sys

from yolo_ema.cli import main

if __name__ == "__main__":
    sys.exit(main(["detect", *sys.argv[1:]]))
