"""Training: trainer, loss, run records; on one process or several."""

from yolo_ema.engine.training.launch import check_variables as _check_variables

_check_variables()
