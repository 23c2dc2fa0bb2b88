"""Drone scenes drawn in code, with exact labels."""

from yolo_ema.scenes.clip import draw_clip
from yolo_ema.scenes.dataset import write_dataset
from yolo_ema.scenes.scene import Scene, draw_scene

__all__ = ["Scene", "draw_clip", "draw_scene", "write_dataset"]
