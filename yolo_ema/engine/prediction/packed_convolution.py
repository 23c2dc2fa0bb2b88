"""A convolution and its activation as one call to oneDNN.

It rests on two private operators of torch, which ``torch.compile`` itself calls; a canary test says
when a release has lost them. Without them the boxes are the same, more slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

_OPERATORS = ("_convolution_pointwise", "_reorder_convolution_weight")
_KEPT_SHAPES = 2  # the tiles' and the whole frame's

Layer = Callable[[Tensor], Tensor]


def packed(convolution: nn.Conv2d, activation: nn.Module, *, padded: bool = True) -> Layer:
    """Return a convolution and its activation as one call, or as two where oneDNN cannot join them;
    without its padding unless ``padded``.
    """
    fuses = torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, operator) for operator in _OPERATORS
    )
    name = {nn.SiLU: "swish", nn.ReLU: "relu", nn.Identity: "none"}.get(type(activation))
    if (
        not fuses
        or name is None
        or convolution.padding_mode != "zeros"
        or isinstance(convolution.padding, str)
    ):
        return partial(_in_two, convolution, activation, padded)
    return _PackedConvolution(convolution, name, padded)


class _PackedConvolution:
    """A convolution and its activation as one call to oneDNN, with the weights in the order that it
    expects.

    That order depends on the input's shape. For whole maps it is found for the shape at hand and
    kept for those that came last; single places (not ``padded``) come in any number, and take the
    order that oneDNN expects without knowing.
    """

    def __init__(self, convolution: nn.Conv2d, activation: str, padded: bool) -> None:
        self._weight = convolution.weight.detach()
        self._bias = None if convolution.bias is None else convolution.bias.detach()
        padding, stride, dilation = (
            list(pair) for pair in (convolution.padding, convolution.stride, convolution.dilation)
        )
        self._geometry = (padding if padded else [0, 0], stride, dilation, convolution.groups)
        self._activation = activation
        self._by_shape: dict[torch.Size | None, Tensor] = (
            {} if padded else {None: self._in_order(None)}
        )
        self._any_shape = not padded

    def __call__(self, x: Tensor) -> Tensor:
        shape = None if self._any_shape else x.shape
        weight = self._by_shape.get(shape)
        if weight is None:
            weight = self._in_order(list(x.shape))
            # A new dictionary, not a change of the old one: other threads may be reading that.
            self._by_shape = dict([*self._by_shape.items(), (x.shape, weight)][-_KEPT_SHAPES:])
        return torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001 - what torch.compile itself calls
            x, weight, self._bias, *self._geometry, self._activation, [], ""
        )

    def _in_order(self, shape: list[int] | None) -> Tensor:
        return torch.ops.mkldnn._reorder_convolution_weight(self._weight, *self._geometry, shape)  # noqa: SLF001


def _in_two(convolution: nn.Conv2d, activation: nn.Module, padded: bool, x: Tensor) -> Tensor:
    if padded:
        return activation(nn.Conv2d.forward(convolution, x))
    weight, bias = convolution.weight, convolution.bias
    return activation(
        functional.conv2d(
            x, weight, bias, convolution.stride, 0, convolution.dilation, convolution.groups
        )
    )
