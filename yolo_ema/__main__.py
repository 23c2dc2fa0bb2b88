"""Run the command line with ``python -m yolo_ema``."""

from yolo_ema.cli import main

raise SystemExit(main())
