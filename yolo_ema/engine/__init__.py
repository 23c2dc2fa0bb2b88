"""The only room that imports Ultralytics.

Importing it runs `environment`, which sets Ultralytics up before anything here imports it.
"""

from yolo_ema.engine.setup import environment as environment
