"""How large the networks of a study's arms are: by their records, and where a record of a detector
is too old to say, counted once from the arm's model.
"""

from __future__ import annotations

import dataclasses
import functools

from torch import nn

from yolo_ema.engine.models.catalog import forward_cost
from yolo_ema.engine.models.published_weights import default_pretrained
from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.transfer import transfer_weights
from yolo_ema.studies.records import Records
from yolo_ema.studies.spec import Arm, Setting

_COCO_CLASSES = 80


@dataclasses.dataclass(frozen=True)
class NetworkSize:
    """What a network takes.

    Attributes:
        parameters: how many; None without a run.
        operations: of convolutions and matrix products for one square input of the size that the
            arm is measured at, a multiplication and an addition counting two; None where they
            cannot be known.
    """

    parameters: int | None = None
    operations: int | None = None


def network_size(records: Records, arm: Arm, at: Setting) -> NetworkSize:
    """Return the size of an arm's network, which is the same for all seeds."""
    runs = [record for (name, _), record in records.runs.items() if name == arm.name]
    if not runs:
        return NetworkSize()
    if records.study.task == "classify":
        return NetworkSize(runs[0]["parameters"], runs[0]["operations"])
    parameters = next((run["parameters"] for run in runs if run.get("parameters")), None)
    for run in runs:
        operations = run["evaluations"].get(at.key, {}).get("operations")
        if parameters and operations:
            return NetworkSize(parameters, operations)
    has_weights = runs[0]["pretrained"]["sha256"] is not None
    counted, layers = _network(arm.model, len(runs[0]["data"]["names"]), from_coco=has_weights)
    if parameters not in {None, counted}:  # the first weights had other classes than COCO's
        return NetworkSize(parameters, None)
    return NetworkSize(counted, _operations(layers, at.imgsz))


@functools.cache
def _network(model: str, class_count: int, *, from_coco: bool) -> tuple[int, nn.Sequential]:
    """Return a detector's number of parameters, and its layers on the meta device. A head that took
    over the published weights that the model starts from has their width, of COCO's classes.
    """
    network = build_model(model, class_count)
    if from_coco:
        published = default_pretrained(model)
        source = published.removesuffix(".pt").removesuffix("u") if published else model
        transfer_weights(build_model(source, _COCO_CLASSES), network)
    return sum(parameter.numel() for parameter in network.parameters()), network.model.to("meta")


@functools.cache
def _operations(layers: nn.Sequential, imgsz: int) -> int:
    return forward_cost(layers, imgsz)[0]
