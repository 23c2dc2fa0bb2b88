"""Rebuilds a detection model from what a weights file says of it.

The layers are made by Ultralytics from the file's model description, which was checked before; from
the file's own layers come their numbers and a few settings that may differ from the description:
the width of a head that took over wider weights, a pruned layer's channels, the constants of batch
norms. The two are walked side by side, by name. Whatever else differs, stands in another place or
is anything but plain data refuses the file; attributes that the made layer does not have stay
behind. So nothing of the file runs: no object of it gets into the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import initialize_weights

from yolo_ema.engine.models.blocks import ACTIVATIONS
from yolo_ema.engine.models.blueprint import checked_definition, draw, is_published, probe
from yolo_ema.engine.weights.layer_settings import (
    RESIZABLE,
    UncheckedModel,
    check_attribute,
    check_sizes,
)
from yolo_ema.engine.weights.pickle_records import SavedObject, SavedTensor
from yolo_ema.engine.weights.plain_values import (
    described,
    is_number,
    plain_names,
    plain_value,
)

_TASKS = {
    "Segment": "segment",
    "Pose": "pose",
    "OBB": "obb",
    "Classify": "classify",
    "Depth": "depth",
    "SemanticSegment": "semantic",
}
_MODELS = ("DetectionModel", "YOLOv10DetectionModel")
_RENAMED = {"Silence": "Identity"}  # YOLOv9
_USUAL_WIDTH = 1024
"""Most channels of a layer that is tried with real numbers: it takes little memory."""


IMAGE_CHANNELS = 3
"""Of the images that models are run on here."""


class OtherModel(Exception):  # noqa: N818 - as above
    """The model is for another task, or for other images; the message is a clause."""


def rebuild_model(
    saved: SavedObject, tensor: Callable[[SavedTensor], torch.Tensor]
) -> DetectionModel:
    """Return a detection model of Ultralytics with the file's weights, in evaluation mode.

    Raises:
        OtherModel: it is not a detector of colour images.
        UncheckedModel: it is not what its description makes, or carries more than data.
        NotPlain: its names or settings are not plain values.
        ModelError: its description is wrong.
        ArchiveFault: from ``tensor``.
    """
    state = _state(saved, "its model")
    layers = _children(state, "its model").get("model")
    saved_layers = _children(_state(layers, "its layers"), "its layers")
    if not saved_layers:
        raise UncheckedModel("its model has no layers")
    saved_head = list(saved_layers.values())[-1]
    _check_task(saved, saved_head)
    head_state = _state(saved_head, "its head")

    description = plain_value(state.get("yaml"))
    if not isinstance(description, dict):
        raise UncheckedModel("its model has no description")
    description["nc"] = head_state.get("nc")
    definition = checked_definition(description, "its model description")
    if definition["channels"] != IMAGE_CHANNELS:
        raise OtherModel(
            f"takes images of {definition['channels']} channels; expected {IMAGE_CHANNELS}"
        )
    # On the meta device nothing takes memory, but torch imports its compiler for it, a second.
    device = "cpu" if is_published(definition) else "meta"
    with torch.random.fork_rng(devices=[]):  # first numbers, drawn to be replaced
        model = _unfilled(definition, device)
    strides = () if device == "meta" else _strides(model.model, device)
    head: Any = model.model[-1]
    if getattr(head, "one2one_cv2", None) is not None:
        head.end2end = head_state.get("_end2end") is True
    if _is_fused(model, layers):
        with torch.device(device):
            model.fuse(verbose=False)
    filler = _Filler(tensor)
    filler.fill(model.model, layers, "model")
    if device == "meta":
        strides = _strides(model.model, device)
    filler.assign()
    if device == "cpu" and filler.trial:
        strides = _strides(copy.deepcopy(model.model).to(filler.trial).float(), filler.trial)
    model.stride = head.stride = torch.tensor(strides, dtype=torch.float32, device="cpu")
    model.names = plain_names(plain_value(state.get("names")), definition["nc"])
    arguments = plain_value(state.get("args"))
    model.args = dict(arguments) if arguments else {}
    return model.eval()


def _check_task(saved: SavedObject, head: Any) -> None:
    kind = saved.kind.rpartition(".")[2]
    head_kind = head.kind.rpartition(".")[2] if isinstance(head, SavedObject) else ""
    if kind in _MODELS and head_kind in ("Detect", "v10Detect"):
        return
    if not kind.endswith("Model"):
        raise UncheckedModel(f"its model is a {kind[:50]}, not a model of Ultralytics")
    task = task_of_head(head_kind) or kind[:50]
    raise OtherModel(f"is a model for {task!r} ({head_kind[:50]}); expected a detector")


def task_of_head(kind: str) -> str | None:
    """Return the task other than detection that a head of this class is for, or None."""
    return next((task for name, task in _TASKS.items() if kind.startswith(name)), None)


def _strides(layers: nn.Sequential, device: str) -> tuple[int, ...]:
    return probe(layers, "its model", device=device)


def _unfilled(definition: dict[str, Any], device: str) -> DetectionModel:
    """Return the model as Ultralytics' constructor makes it, without numbers."""
    model = DetectionModel.__new__(DetectionModel)
    nn.Module.__init__(model)
    model.yaml = definition
    model.model, model.save = draw(definition, "its model description", device=device)
    model.inplace = model.model[-1].inplace = True
    model.nc, model.task = definition["nc"], "detect"
    model.criterion = None  # belongs to the run that saved it
    model.stride = torch.zeros(0)
    initialize_weights(model)
    return model


def _is_fused(model: nn.Module, saved: Any) -> bool:
    """Say whether the file's first convolution lacks its batch norm."""
    for name, module in model.model.named_modules():
        if isinstance(module, Conv) and "bn" in module._modules:  # noqa: SLF001
            for part in name.split("."):
                saved = _children(_state(saved, "its model"), "its model").get(part)
            return "bn" not in _children(_state(saved, "its model"), "its model")
    return False


def _state(saved: Any, place: str) -> dict[Any, Any]:
    if not isinstance(saved, SavedObject) or saved.state is None:
        raise UncheckedModel(f"{place}: {described(saved)} where a layer should be")
    return saved.state


def _children(state: dict[Any, Any], place: str) -> dict[str, SavedObject]:
    modules = state.get("_modules", {})
    if not isinstance(modules, dict):
        raise UncheckedModel(f"{place}: {described(modules)} where its layers should be")
    return {name: module for name, module in modules.items() if module is not None}


class _Filler:
    """Carries a file's numbers and settings over to layers without numbers.

    Attributes:
        trial: the device on which layers that differ from their description want to be tried: the
            CPU where they have other widths alone, as a head that took over wider weights has;
            meta, where nothing takes memory, for whatever else; empty where none differs.
    """

    def __init__(self, tensor: Callable[[SavedTensor], torch.Tensor]) -> None:
        self._tensor = tensor
        self._tensors: list[tuple[dict[str, Any], str, SavedTensor, bool]] = []
        self._taken: set[int] = set()
        self.trial = ""
        self._activations: dict[int, nn.Module] = {}

    def assign(self) -> None:
        """Put the numbers in place of the shapes."""
        for values, name, saved, is_parameter in self._tensors:
            tensor = self._tensor(saved)
            values[name] = (
                nn.Parameter(tensor, requires_grad=saved.requires_grad) if is_parameter else tensor
            )

    def fill(self, module: nn.Module, saved: Any, place: str) -> None:
        """Check a layer of the file and everything below it against the made one."""
        state = _state(saved, place)
        kind = saved.kind.rpartition(".")[2]
        library = type(module).__module__.partition(".")[0]
        if _RENAMED.get(kind, kind) != type(module).__name__ or (
            saved.kind.partition(".")[0] != library and kind not in _RENAMED
        ):
            raise UncheckedModel(
                f"{place} is a {saved.kind[:100]} where its description makes a "
                f"{type(module).__name__}"
            )
        for key, value in state.items():
            if check_attribute(module, saved, key, value, place):
                self._wants_trial(module, vars(module)[key])
        for values, key in ((module._parameters, "_parameters"), (module._buffers, "_buffers")):  # noqa: SLF001
            self._note_tensors(
                module, values, state.get(key, {}), is_parameter=key == "_parameters", place=place
            )
        if isinstance(module, RESIZABLE):
            check_sizes(module, place)
        children = _children(state, place)
        layers = {name: child for name, child in module._modules.items() if child is not None}  # noqa: SLF001
        if children.keys() != layers.keys():
            unmatched = sorted(map(str, children.keys() ^ layers.keys()))
            raise UncheckedModel(
                f"{place} has other parts than its description makes: {unmatched[0][:50]}"
            )
        for name, child in layers.items():
            if type(child).__name__ in ACTIVATIONS and not list(child.children()):
                child = module._modules[name] = self._activation(child, children[name])  # noqa: SLF001
            self.fill(child, children[name], f"{place}.{name}")

    def _wants_trial(self, module: nn.Module, value: Any) -> None:
        is_width = isinstance(module, RESIZABLE) and is_number(value) and value <= _USUAL_WIDTH
        self.trial = "cpu" if is_width and self.trial != "meta" else "meta"

    def _activation(self, activation: nn.Module, saved: Any) -> nn.Module:
        """Return the file's activation: convolutions share one, which must not be the one that all
        models share.
        """
        if id(saved) not in self._activations:
            kind = saved.kind if isinstance(saved, SavedObject) else ""
            name = kind.rpartition(".")[2]
            differs = name != type(activation).__name__
            if differs and kind.startswith("torch.nn.modules.") and name in ACTIVATIONS:
                with torch.device("meta"):
                    self._activations[id(saved)] = getattr(nn, name)()
            else:
                self._activations[id(saved)] = copy.deepcopy(activation)
        return self._activations[id(saved)]

    def _note_tensors(
        self,
        module: nn.Module,
        values: dict[str, Any],
        saved: Any,
        *,
        is_parameter: bool,
        place: str,
    ) -> None:
        if not isinstance(saved, dict) or saved.keys() != values.keys():
            raise UncheckedModel(f"{place} has other tensors than its description makes")
        for name, tensor in values.items():
            note = saved[name]
            if (note is None) != (tensor is None):
                raise UncheckedModel(
                    f"{place} has other tensors than its description makes: {name}"
                )
            if note is None:
                continue
            if not isinstance(note, SavedTensor):
                raise UncheckedModel(f"{place}.{name} is {described(note)}, not a tensor")
            is_float = note.storage.dtype.startswith(("float", "bfloat"))
            if is_float != tensor.dtype.is_floating_point:
                raise UncheckedModel(f"{place}.{name} has numbers of the kind {note.storage.dtype}")
            if note.size != tuple(tensor.shape):
                may_differ = isinstance(module, RESIZABLE) and note.size[2:] == tensor.shape[2:]
                if not may_differ or len(note.size) != tensor.dim():
                    raise UncheckedModel(
                        f"{place}.{name} is {note.size} where its description makes "
                        f"{tuple(tensor.shape)}"
                    )
                self._wants_trial(module, max(note.size, default=0))
                shape = torch.empty(note.size, dtype=tensor.dtype, device="meta")
                values[name] = nn.Parameter(shape, requires_grad=False) if is_parameter else shape
            if id(note) in self._taken:  # each would get memory of its own when it is made float32
                raise UncheckedModel(f"{place}.{name} is also the tensor of another layer")
            self._taken.add(id(note))
            self._tensors.append((values, name, note, is_parameter))
