"""The only room that imports Ultralytics. Importing it runs `environment`, which sets Ultralytics up first."""

from yolo_ema.engine import environment as environment  # sets the environment before any module of this room imports Ultralytics
