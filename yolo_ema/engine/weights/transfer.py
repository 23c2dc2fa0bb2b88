"""Carries weights from one detection model to another by layer correspondence, where Ultralytics
goes by index.

Ultralytics matches ``model.<index>.…`` and shape, so one inserted EMA block shifts every later
layer away from its weights. Here a layer of the target corresponds to the source's layer of the
same kind, at the same stride, with the same number among those: the second C3k2 at stride 16 to the
second C3k2 at stride 16. Inserted attention blocks are a kind of their own and disturb nothing; in
a P2 model the way up to P3 and the strided convolutions on the way down find their counterparts in
the plain model's neck, and only what the P2 level widens is new.

Detect's branches correspond by the stride of their level. Their inner width follows from the number
of classes and from the finest level, so it differs between 80 and 10 classes and between plain and
P2; a branch that reads as many channels as the source's is taken over at the source's width, as
Ultralytics' own ``load()`` arranges it for the class branch. Of its last convolution, which has one
output per class, the rows go by the names of the classes; those of names that the source lacks are
new.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn
from ultralytics.nn.modules.head import Detect

from yolo_ema.engine.models.blueprint import run_layers
from yolo_ema.engine.weights.class_rows import CLASS_BRANCHES, ClassRows, class_rows
from yolo_ema.errors import TransferError
from yolo_ema.nn import BLOCKS

MINIMUM_SHARE = 0.5
"""Share of the target's tensors, 0 to 1, that must come from the source by default."""

_BRANCHES = ("cv2", "cv3", "one2one_cv2", "one2one_cv3")
_PROBE_PX = 64


@dataclasses.dataclass(frozen=True)
class TransferReport:
    """How much was carried over.

    Attributes:
        transferred: tensors of the target that now hold the source's values (parameters and
            buffers, as in ``state_dict()``).
        total: tensors of the target.
        source_total: tensors of the source.
        new: names of the target's tensors that keep their initial values, in the target's order;
            of those in ``partly`` some rows only.
        kinds: the class name of each layer of the target, in order.
        rows: which of the source's rows each class took; None where they went by position.
        partly: those of ``new`` that hold the source's values in the rows of ``rows.matched``.
    """

    transferred: int
    total: int
    source_total: int
    new: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: ClassRows | None = None
    partly: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Return the transferred share of the target's tensors, 0 to 1."""
        return self.transferred / self.total

    def as_json(self) -> dict[str, object]:
        """Return the report for machines; the share in percent."""
        counts = {
            "transferred": self.transferred,
            "total": self.total,
            "source_total": self.source_total,
        }
        by_name = (
            {}
            if self.rows is None
            else {"class_rows_by_name": len(self.rows.matched), "classes": len(self.rows.sources)}
        )
        return {**counts, "share": round(100 * self.share, 2), "new": list(self.new), **by_name}

    def as_text(self) -> str:
        """Return the report in lines: how many of how many, which layers hold new tensors, and how
        many of them, and how many classes found their rows by name.
        """
        carried = (
            f"weights: {self.transferred} of {self.total} tensors carried over (the source has "
            f"{self.source_total})"
        )
        lines = [carried]
        if places := Counter(self._place(name) for name in self.new):
            lines.append("new: " + ", ".join(f"{place} {count}" for place, count in places.items()))
        if self.rows is not None:
            lines.append(
                f"class rows by name: {len(self.rows.matched)} of {len(self.rows.sources)}"
            )
        return "\n".join(lines)

    def _place(self, name: str) -> str:
        """Shorten ``model.21.m.0.cv1.conv.weight`` to ``21 C3k2:`` and ``model.28.cv3.0.2.weight``
        to ``28 Detect.cv3:``.
        """
        _, index, *rest = name.split(".")
        kind = self.kinds[int(index)]
        return f"{index} {kind}.{rest[0]}:" if kind == Detect.__name__ else f"{index} {kind}:"


def transfer_weights(
    source: nn.Module, target: nn.Module, *, minimum_share: float = MINIMUM_SHARE
) -> TransferReport:
    """Copy every tensor of ``source`` that has a counterpart of equal shape in ``target``.

    Both are Ultralytics detection models; ``target`` is changed in place, ``source`` is not. The
    target's head branches may come out wider than its YAML says (see the module's text), so make
    optimisers afterwards.

    Args:
        source: the model to start from, plain or with EMA blocks, not fused.
        target: the model to fill.
        minimum_share: share of the target's tensors, 0 to 1, that must be carried over.

    Returns:
        How many tensors of how many were carried over, and which are new.

    Raises:
        TransferError: one of the two is not a detection model, the source is fused, or less than
            ``minimum_share`` fits; the target is untouched then, and the message says why.
    """
    source_layers, target_layers = _layers(source, "source"), _layers(target, "target")
    if source.is_fused():
        raise TransferError(
            "the source is fused for inference, its batch norms are gone; start from the "
            "checkpoint that training wrote"
        )
    rows = class_rows(source, target)
    wider = _wider_branches(source_layers[-1], target_layers[-1], by_name=rows is not None)
    below = list(_layer_pairs(source, target))
    heads = list(
        _head_pairs(source_layers[-1], target_layers[-1], wider, f"model.{len(target_layers) - 1}")
    )
    found = {
        f"{pair.name}.{key}": (tensor, value)
        for pair in (*below, *heads)
        for key, tensor, value in _common_tensors(pair)
    }
    of_classes = _class_tensors(heads) if rows is not None else set()
    if rows is not None:
        found |= {name: (found[name][0], rows.placed(*found[name])) for name in of_classes}
    copies = {name: pair for name, pair in found.items() if pair[0].shape == pair[1].shape}
    partly = set() if rows is None or rows.is_complete else of_classes & copies.keys()
    names = list(target.state_dict())
    new = tuple(name for name in names if name not in copies or name in partly)
    report = TransferReport(
        len(names) - len(new),
        len(names),
        len(source.state_dict()),
        new,
        tuple(type(layer).__name__ for layer in target_layers),
        rows,
        tuple(name for name in new if name in partly),
    )
    if report.share < minimum_share:
        raise TransferError(
            f"only {report.transferred} of the model's {report.total} tensors fit the weights, "
            f"{100 * report.share:.0f} %; expected at least {100 * minimum_share:.0f} %. "
            f"{_reason(source_layers, target_layers, below)}"
        )
    for (attribute, level), branch in wider.items():
        getattr(target_layers[-1], attribute)[level] = branch
    with torch.no_grad():
        for tensor, value in copies.values():
            tensor.copy_(value)
    return report


def corresponding_tensors(
    source: nn.Module, target: nn.Module
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Yield the name, tensor and counterpart of every tensor of ``target`` that has one of equal
    shape in ``source``, whose classes are the same.

    Raises:
        TransferError: one of the two is not a detection model.
    """
    sources, targets = _layers(source, "source"), _layers(target, "target")
    for pair in (
        *_layer_pairs(source, target),
        *_head_pairs(sources[-1], targets[-1], {}, f"model.{len(targets) - 1}"),
    ):
        for key, tensor, value in _common_tensors(pair):
            if tensor.shape == value.shape:
                yield f"{pair.name}.{key}", tensor, value


def _layers(model: nn.Module, role: str) -> list[nn.Module]:
    layers = getattr(model, "model", None)
    if not isinstance(layers, nn.Sequential) or not isinstance(layers[-1], Detect):
        last = type(layers[-1] if isinstance(layers, nn.Sequential) else model).__name__
        raise TransferError(
            f"the {role} is not a YOLO detection model: it ends in {last}; expected Ultralytics' "
            f"Detect"
        )
    return list(layers)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Two modules that correspond: the name is the target's."""

    name: str
    target: nn.Module
    source: nn.Module


def _common_tensors(pair: _Pair) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    given = pair.source.state_dict()
    for key, tensor in pair.target.state_dict().items():
        if key in given:
            yield key, tensor, given[key]


def _layer_pairs(source: nn.Module, target: nn.Module) -> Iterator[_Pair]:
    """Yield corresponding layers below the heads: same kind, stride and number among those."""
    sources = dict(_numbered(source))
    for key, layer in _numbered(target):
        if key in sources:
            yield _Pair(f"model.{layer.i}", layer, sources[key])


def _numbered(model: nn.Module) -> Iterator[tuple[tuple[str, float, int], nn.Module]]:
    seen: Counter[tuple[str, float]] = Counter()
    for layer, stride in zip(model.model[:-1], _strides(model), strict=True):
        kind = (type(layer).__name__, stride)
        yield (*kind, seen[kind]), layer
        seen[kind] += 1


def _strides(model: nn.Module) -> list[float]:
    """Return the stride of each layer below the head, from a forward pass of one small image; the
    model stays as it was.
    """
    like = next(model.parameters())
    modes = [(module, module.training) for module in model.modules()]
    model.eval()  # batch norms keep their statistics
    image = torch.zeros(
        1, model.yaml.get("channels", 3), _PROBE_PX, _PROBE_PX, dtype=like.dtype, device=like.device
    )
    try:
        with torch.no_grad():
            return [_PROBE_PX / output.shape[-2] for output in run_layers(model.model[:-1], image)]
    finally:
        for module, training in modes:
            module.training = training


def _levels(source: Detect, target: Detect) -> Iterator[tuple[str, int, nn.Module, nn.Module]]:
    """Yield attribute, level of the target, and both branches, for every branch of the heads at the
    same stride.
    """
    levels = {float(stride): level for level, stride in enumerate(source.stride)}
    for attribute in _BRANCHES:
        sources, targets = getattr(source, attribute, None), getattr(target, attribute, None)
        if sources is None or targets is None:
            continue
        for level, stride in enumerate(target.stride):
            if float(stride) in levels:
                yield attribute, level, sources[levels[float(stride)]], targets[level]


def _wider_branches(
    source: Detect, target: Detect, *, by_name: bool
) -> dict[tuple[str, int], nn.Module]:
    """Return what replaces those of the target's branches that read the same channels as the
    source's and differ inside. With ``by_name`` the outputs of classes begin anew.
    """
    return {
        (attribute, level): _at_width_of(src, dst, anew=by_name and attribute in CLASS_BRANCHES)
        for attribute, level, src, dst in _levels(source, target)
        if _channels_read(src) == _channels_read(dst)
        and src[-1].in_channels != dst[-1].in_channels
        and src.state_dict().keys() == dst.state_dict().keys()
    }


def _channels_read(branch: nn.Module) -> int:
    return next(module.in_channels for module in branch.modules() if isinstance(module, nn.Conv2d))


def _at_width_of(source: nn.Module, target: nn.Module, *, anew: bool) -> nn.Module:
    """Return a branch with the source's widths and the target's outputs, device, precision and
    mode.
    """
    branch = copy.deepcopy(source)
    if anew or source[-1].out_channels != target[-1].out_channels:
        branch[-1] = nn.Conv2d(source[-1].in_channels, target[-1].out_channels, 1)
        with torch.no_grad():
            # Detect sets it to the expected share of objects.
            branch[-1].bias.copy_(target[-1].bias)
    for parameter, counterpart in zip(branch.parameters(), target.parameters(), strict=True):
        parameter.requires_grad_(counterpart.requires_grad)
    like = target[-1].weight
    return branch.to(like.device, like.dtype).train(target.training)


def _head_pairs(
    source: Detect, target: Detect, wider: dict[tuple[str, int], nn.Module], name: str
) -> Iterator[_Pair]:
    for attribute, level, src, dst in _levels(source, target):
        yield _Pair(f"{name}.{attribute}.{level}", wider.get((attribute, level), dst), src)
    yield _Pair(f"{name}.dfl", target.dfl, source.dfl)


def _class_tensors(heads: list[_Pair]) -> set[str]:
    """Return the names of the tensors with one row per class."""
    return {
        f"{pair.name}.{len(pair.target) - 1}.{key}"
        for pair in heads
        if pair.name.split(".")[2] in CLASS_BRANCHES and len(pair.target) == len(pair.source)
        for key in ("weight", "bias")
    }


def _reason(source: list[nn.Module], target: list[nn.Module], pairs: list[_Pair]) -> str:
    """Say why little fits: other kinds of layers, or the same kinds at other widths."""
    src, dst = ({type(layer).__name__ for layer in layers} for layers in (source, target))
    missing, surplus = (
        sorted(dst - src - {block.__name__ for block in BLOCKS.values()}),
        sorted(src - dst),
    )
    if missing:
        instead = f"they have {', '.join(surplus)}" if surplus else "they have nothing instead"
        return (
            f"The model has layers that the weights lack ({', '.join(missing)}; {instead}): "
            f"another family"
        )
    for pair in pairs:
        for key, tensor, value in _common_tensors(pair):
            if tensor.shape != value.shape:
                shapes = (
                    f"{tuple(tensor.shape)} in the model and {tuple(value.shape)} in the weights"
                )
                return f"{pair.name}.{key} is {shapes}: another scale"
    return "The layers correspond, but too many of the model's are new"
