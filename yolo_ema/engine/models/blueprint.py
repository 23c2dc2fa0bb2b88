"""Models on torch's meta device: layers with shapes and without numbers, so that what a model YAML
asks for is known before any memory is taken for it.

A model YAML is checked (`checked_definition`), its layers are made (`draw`), and one image is sent
through them (`probe`). What cannot be built or does not fit together is an error that names the
row.
"""

from __future__ import annotations

import contextlib
import copy
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NoReturn
from unittest import mock

import torch
import yaml
from torch import nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import parse_model

from yolo_ema.engine.models.blocks import MOST_CLASSES, checked_activation, checked_row
from yolo_ema.engine.models.definition import named_definition
from yolo_ema.engine.models.growth_limits import PROBE_PX, SizeWatch, bounded
from yolo_ema.errors import ModelError, first_line
from yolo_ema.io.yaml_files import YamlFileError, read_yaml
from yolo_ema.nn import BLOCKS

_MOST_ROWS = 500
_USUAL_CLASSES = 1000
_SCALE_LIMITS = (10.0, 10.0, 65_536.0)  # depth, width, most channels
_BUILD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)  # what layers raise on numbers that do not fit
_parsing = threading.Lock()  # parse_model sets attributes of Ultralytics' classes


def read_definition(path: Path) -> tuple[Any, list[str]]:
    """Return a model YAML's content, and ``file, line n`` for each of its rows.

    Raises:
        ModelError: it is not YAML, or has no rows.
    """
    try:
        content = read_yaml(path)
    except YamlFileError as error:
        raise ModelError(f"{path} {error}") from error
    places: list[str] = []
    root: Any = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    for section in ("backbone", "head"):
        rows = content.get(section) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not rows:
            raise ModelError(
                f"{path}: no rows under '{section}'; a model YAML has 'backbone' and 'head' with "
                f"rows [from, repeats, block, arguments]"
            )
        nodes = next(value for key, value in root.value if key.value == section).value
        places += [f"{path}, line {node.start_mark.line + 1}" for node in nodes]
    return content, places


def checked_definition(
    content: Any, where: str, places: Sequence[str] = (), *, user_blocks: bool = False
) -> dict[str, Any]:
    """Return what Ultralytics may build a detection model from: known keys, checked values, and
    nothing shared with ``content``.

    ``where`` and ``places``, file and line of each row, are for messages; without places, rows are
    named by their numbers. ``user_blocks`` allows the blocks that the running program registered
    with Ultralytics, too.

    Raises:
        ModelError: something in it is wrong; the message names the place.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"{where} is a {type(content).__name__}; expected keys with values")
    backbone, head = content.get("backbone"), content.get("head")
    if not isinstance(backbone, list | tuple) or not isinstance(head, list | tuple):
        raise ModelError(f"{where} has no 'backbone' or no 'head'")
    rows = [*backbone, *head]
    if not 1 < len(rows) <= _MOST_ROWS:
        raise ModelError(f"{where}: {len(rows)} layers; expected 2 to {_MOST_ROWS}")
    places = places or [f"{where}, row {index}" for index in range(len(rows))]
    checked = [
        checked_row(
            row, index, places[index], is_last=index == len(rows) - 1, user_blocks=user_blocks
        )
        for index, row in enumerate(rows)
    ]
    definition: dict[str, Any] = {
        "nc": _whole_number(content, "nc", 80, MOST_CLASSES, where),
        "channels": _whole_number(content, "channels", 3, 64, where),
        "backbone": checked[: len(backbone)],
        "head": checked[len(backbone) :],
        **_scaling(content, where),
    }
    if "reg_max" in content:
        definition["reg_max"] = _whole_number(content, "reg_max", 16, 256, where)
    if content.get("activation"):
        definition["activation"] = checked_activation(content["activation"], where)
    for key in ("end2end", "inplace"):
        if isinstance(content.get(key), bool | None) and key in content:
            definition[key] = content[key]
    if isinstance(content.get("yaml_file"), str):
        definition["yaml_file"] = content["yaml_file"][:1000]
    return definition


def _whole_number(content: Mapping[Any, Any], key: str, default: int, most: int, where: str) -> int:
    """Return a setting as Ultralytics takes it: 2, 2.0 and '2' mean the same."""
    value = content.get(key, default)
    number = None if isinstance(value, bool) else value
    if isinstance(number, str):
        number = (
            int(number) if number.isdecimal() and number.isascii() and len(number) < 10 else None
        )
    if not isinstance(number, int | float) or number != number // 1 or not 1 <= number <= most:
        shown = repr(value)[:50] if isinstance(value, str | int | float) else type(value).__name__
        raise ModelError(f"{where}: {key} is {shown}; expected a whole number from 1 to {most:,}")
    return int(number)


def _scaling(content: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Return the keys that say how deep and wide the model is."""
    scaling: dict[str, Any] = {}
    for key in ("depth_multiple", "width_multiple"):
        if key in content:
            scaling[key] = _multiples([content[key]], _SCALE_LIMITS[:1], key, where)[0]
    scales = content.get("scales")
    if scales is None:
        return scaling
    if not isinstance(scales, Mapping) or not 0 < len(scales) <= 20:
        raise ModelError(f"{where}: its scales are a {type(scales).__name__}; expected letters")
    checked = {
        str(letter)[:20]: _multiples(values, _SCALE_LIMITS, f"scale {str(letter)[:20]}", where)
        for letter, values in scales.items()
    }
    scale = str(content.get("scale") or next(iter(checked)))[:20]
    if scale not in checked:
        raise ModelError(f"{where} has no scale {scale!r}; it has {', '.join(checked)}")
    return scaling | {"scales": checked, "scale": scale}


def _multiples(values: Any, limits: Sequence[float], name: str, where: str) -> list[int | float]:
    if (
        isinstance(values, list | tuple)
        and len(values) == len(limits)
        and all(
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (0 < value <= limit or (limit is limits[-1] and value == math.inf))
            for value, limit in zip(values, limits, strict=True)
        )
    ):
        return list(values)
    expected = "depth, width and most channels" if len(limits) > 1 else "a number up to 10"
    raise ModelError(f"{where}: {name} is wrong; expected {expected}")


def is_published(definition: Mapping[str, Any]) -> bool:
    """Say whether a checked definition is, row by row, that of a model of ours or of Ultralytics'.

    Such a model needs no drawing: its size is known to be that of a detector.
    """
    try:
        # The name alone: where a checkpoint says that the file was does not matter.
        shipped = named_definition(PurePath(str(definition.get("yaml_file", ""))).stem)
        published = checked_definition(yaml.safe_load(shipped.text()), "") if shipped else None
    except ModelError:
        return False
    if published is None or definition["nc"] > _USUAL_CLASSES:
        return False
    same = ("backbone", "head", "scales", "depth_multiple", "width_multiple", "reg_max")
    return all(definition.get(key) == published.get(key) for key in same)


def draw(
    definition: dict[str, Any], where: str, places: Sequence[str] = (), *, device: str = "meta"
) -> tuple[nn.Sequential, list[int]]:
    """Return the layers of a checked definition, and which outputs are kept.

    On the device ``meta`` layers take no memory; ``cpu`` is for what `is_published`.

    Raises:
        ModelError: Ultralytics cannot build it, or it is too large.
    """
    with (
        _parsing,
        torch.device(device),
        bounded(where),
        # parse_model leaves it changed where it fails; read only once no other thread parses
        mock.patch.object(Conv, "default_act", Conv.default_act),
    ):
        try:
            layers, save = parse_model(
                copy.deepcopy(definition), ch=definition.get("channels", 3), verbose=False
            )
        except ModelError:
            raise
        except _BUILD_ERRORS as error:
            _refuse_row(error, where, places, definition)
    return layers, save


def _refuse_row(
    error: Exception, where: str, places: Sequence[str], definition: dict[str, Any]
) -> NoReturn:
    """Name the row that `parse_model` stopped at."""
    index, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code is parse_model.__code__:
            index = trace.tb_frame.f_locals.get("i")
        trace = trace.tb_next
    place = places[index] if index is not None and index < len(places) else where
    rows = [*definition["backbone"], *definition["head"]]
    block = f" block {rows[index][2]} with {rows[index][3]}" if index is not None else " this model"
    raise ModelError(
        f"{place}: Ultralytics cannot build{block}: {type(error).__name__}: {first_line(error)}"
    ) from error


def probe(
    layers: nn.Sequential,
    where: str,
    places: Sequence[str] = (),
    *,
    channels: int = 3,
    device: str = "meta",
) -> tuple[int, ...]:
    """Send a square image of `PROBE_PX` through layers, which are left in evaluation mode, and
    return the strides of the head's levels.

    Raises:
        ModelError: a layer does not take what the layers above give, or takes too much memory.
    """
    layers.eval()
    head: Any = layers[-1]
    head.training = True  # raw maps, for which it needs no strides
    outputs: list[torch.Tensor] = []
    watch = SizeWatch() if device == "meta" else contextlib.nullcontext()
    with torch.no_grad(), torch.device(device), watch:
        image = torch.zeros(1, channels, PROBE_PX, PROBE_PX)
        for index, layer in enumerate(layers):
            inputs = inputs_of(layer, outputs) if outputs else image
            place = places[index] if places else f"{where}, layer {index}"
            outputs.append(_output(layer, inputs, place))
    head.training = False
    levels = inputs_of(head, outputs)
    cells = sum(level.shape[-2] * level.shape[-1] for level in levels)
    heads = outputs[-1].values() if "one2many" in outputs[-1] else [outputs[-1]]
    maps = [maps[name] for maps in heads if maps for name in ("boxes", "scores")]
    if not all(part.shape[-1] == cells for part in maps):
        raise ModelError(f"{where}: the outputs of its head do not fit its levels")
    return tuple(PROBE_PX // level.shape[-2] for level in levels)


def run_layers(layers: Sequence[nn.Module], image: torch.Tensor) -> list[torch.Tensor]:
    """Run the layers below the head, as Ultralytics builds them (``layer.f`` says where each reads
    from), on images (B, C, H, W), and return each one's output.
    """
    outputs: list[torch.Tensor] = []
    for layer in layers:
        outputs.append(layer(inputs_of(layer, outputs) if outputs else image))
    return outputs


def inputs_of(
    layer: nn.Module, outputs: Sequence[torch.Tensor]
) -> torch.Tensor | list[torch.Tensor]:
    """Return what a layer reads, given the outputs of all layers before it."""
    if isinstance(layer.f, int):
        return outputs[layer.f]
    return [outputs[source] for source in layer.f]


def _output(layer: nn.Module, inputs: Any, place: str) -> Any:
    try:
        return layer(inputs)
    except _BUILD_ERRORS as error:
        if isinstance(layer, tuple(BLOCKS.values())):
            hint = "write [c2], which stands for the channels of the row above"
            raise ModelError(f"{place}: {first_line(error)}; {hint}") from error
        kind = type(layer).__name__
        raise ModelError(
            f"{place}: {kind} does not take what it reads: {first_line(error)}"
        ) from error
