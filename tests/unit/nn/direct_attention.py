"""Attention blocks step by step in numpy, from their papers' formulas: slow, and independent of the
package.

Each takes a map (B, C, H, W) in float64 and the block's numbers by the names of its state dict, in
evaluation mode.
"""

from __future__ import annotations

import math

import numpy as np

EPS = 1e-5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def conv(x, weight, bias=None, dilation=1):
    """Convolve (B, C, H, W) with (O, C, kh, kw), with zeros around so that the size stays."""
    kernel_h, kernel_w = weight.shape[2:]
    pad_h, pad_w = dilation * (kernel_h // 2), dilation * (kernel_w // 2)
    padded = np.pad(x, ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)))
    height, width = x.shape[2:]
    result = np.zeros((len(x), len(weight), height, width))
    for row in range(kernel_h):
        for column in range(kernel_w):
            top, left = row * dilation, column * dilation
            window = padded[:, :, top : top + height, left : left + width]
            result += np.einsum("bchw,oc->bohw", window, weight[:, :, row, column])
    return result if bias is None else result + bias[None, :, None, None]


def batch_norm(x, numbers, name):
    mean, var, weight, bias = (
        numbers[f"{name}.{part}"][None, :, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + EPS) * weight + bias


def per_channel_norm(x, weight, bias):
    mean = x.mean((2, 3), keepdims=True)
    spread = np.sqrt(x.var((2, 3), keepdims=True) + EPS)
    return (x - mean) / spread * weight[None, :, None, None] + bias[None, :, None, None]


def mlp(x, numbers, first, second):
    hidden = conv(x, numbers[f"{first}.weight"], numbers[f"{first}.bias"])
    return conv(np.maximum(hidden, 0), numbers[f"{second}.weight"], numbers[f"{second}.bias"])


def se(x, numbers):
    return x * sigmoid(mlp(x.mean((2, 3), keepdims=True), numbers, "block.fc1", "block.fc2"))


def cbam(x, numbers):
    names = "block.channel.fc1", "block.channel.fc2"
    means, maxima = x.mean((2, 3), keepdims=True), x.max((2, 3), keepdims=True)
    x = x * sigmoid(mlp(means, numbers, *names) + mlp(maxima, numbers, *names))
    pooled = np.stack([x.mean(1), x.max(1)], axis=1)
    mixed = conv(pooled, numbers["block.spatial.conv.conv.weight"])
    return x * sigmoid(batch_norm(mixed, numbers, "block.spatial.conv.bn"))


def eca(x, numbers):
    means, kernel = x.mean((2, 3)), numbers["block.conv.weight"][0, 0]
    channels, reach = x.shape[1], len(kernel) // 2
    width = int(abs((math.log2(channels) + 1) / 2))
    assert len(kernel) == max(width if width % 2 else width + 1, 3)
    padded = np.pad(means, ((0, 0), (reach, reach)))
    mixed = sum(kernel[k] * padded[:, k : k + channels] for k in range(len(kernel)))
    return x * sigmoid(mixed)[:, :, None, None]


def ca(x, numbers):
    def hidden(means):
        mixed = conv(means, numbers["block.conv1.weight"], numbers["block.conv1.bias"])
        mixed = batch_norm(mixed, numbers, "block.bn1")
        return mixed * np.clip(mixed + 3, 0, 6) / 6

    rows = hidden(x.mean(3, keepdims=True))
    columns = hidden(x.mean(2, keepdims=True))
    by_row = conv(rows, numbers["block.conv_h.weight"], numbers["block.conv_h.bias"])
    by_column = conv(columns, numbers["block.conv_w.weight"], numbers["block.conv_w.bias"])
    return x * sigmoid(by_row) * sigmoid(by_column)


def bam(x, numbers):
    means = mlp(x.mean((2, 3), keepdims=True), numbers, "channel.0", "channel.2")
    channel = batch_norm(means, numbers, "channel_norm")
    spatial = x
    for index, dilation in ((0, 1), (2, 4), (4, 4), (6, 1)):
        weight, bias = numbers[f"spatial.{index}.weight"], numbers[f"spatial.{index}.bias"]
        spatial = conv(spatial, weight, bias, dilation)
        spatial = np.maximum(spatial, 0) if index < 6 else spatial
    return x + x * sigmoid(channel + batch_norm(spatial, numbers, "spatial.7"))


def sa(x, numbers):
    batch, channels, height, width = x.shape
    half = numbers["channel_weight"].shape[1]
    result = np.empty_like(x)
    weighed = []
    for group in range(channels // (2 * half)):
        start = group * 2 * half
        first, second = x[:, start : start + half], x[:, start + half : start + 2 * half]
        means = first.mean((2, 3), keepdims=True)
        gate = sigmoid(numbers["channel_weight"] * means + numbers["channel_bias"])
        normal = per_channel_norm(second, numbers["norm.weight"], numbers["norm.bias"])
        pixels = sigmoid(numbers["spatial_weight"] * normal + numbers["spatial_bias"])
        weighed += [first * gate, second * pixels]
    joined = np.concatenate(weighed, axis=1)
    for channel in range(channels):  # the two halves of all channels alternate
        result[:, channel] = joined[:, (channel % 2) * (channels // 2) + channel // 2]
    return result.reshape(batch, channels, height, width)


def nam(x, numbers):
    scales = np.abs(numbers["norm.weight"])
    shares = (scales / scales.sum())[None, :, None, None]
    return x * sigmoid(shares * batch_norm(x, numbers, "norm"))


def triplet(x, numbers):
    def gated(x, name):
        pooled = np.stack([x.max(1), x.mean(1)], axis=1)
        mixed = conv(pooled, numbers[f"{name}.conv.weight"])
        return x * sigmoid(batch_norm(mixed, numbers, f"{name}.norm"))

    plain = gated(x, "height_width")
    turned = gated(np.moveaxis(x, 2, 1), "channel_width")  # (B, H, C, W)
    other = gated(x.transpose(0, 3, 2, 1), "height_channel")  # (B, W, H, C)
    return (plain + np.moveaxis(turned, 1, 2) + other.transpose(0, 3, 2, 1)) / 3


def gam(x, numbers):
    x = x * sigmoid(mlp(x, numbers, "channel.0", "channel.2"))
    hidden = conv(x, numbers["spatial.0.weight"], numbers["spatial.0.bias"])
    hidden = np.maximum(batch_norm(hidden, numbers, "spatial.1"), 0)
    gate = conv(hidden, numbers["spatial.3.weight"], numbers["spatial.3.bias"])
    return x * sigmoid(batch_norm(gate, numbers, "spatial.4"))


def _ema_branches(x, numbers):
    """Yield each group's channels with its first branch and its second, None where it has none."""
    width = next(value for name, value in numbers.items() if name.startswith("conv")).shape[0]
    for start in range(0, x.shape[1], width):
        group = x[:, start : start + width]
        first = second = None
        if "conv1x1.weight" in numbers:
            weight, bias = numbers["conv1x1.weight"], numbers["conv1x1.bias"]
            rows = sigmoid(conv(group.mean(3, keepdims=True), weight, bias))
            columns = sigmoid(conv(group.mean(2, keepdims=True), weight, bias))
            first = per_channel_norm(
                group * rows * columns, numbers["gn.weight"], numbers["gn.bias"]
            )
        if "conv3x3.weight" in numbers:
            second = conv(group, numbers["conv3x3.weight"], numbers["conv3x3.bias"])
        if "conv1x3.weight" in numbers:
            second = conv(group, numbers["conv1x3.weight"], numbers["conv1x3.bias"])
            second = conv(second, numbers["conv3x1.weight"], numbers["conv3x1.bias"])
        yield group, first, second


def _crossed(weights, values):
    means = np.exp(weights.mean((2, 3)))
    shares = means / means.sum(1, keepdims=True)
    return np.einsum("bk,bkhw->bhw", shares, values)[:, None]


def ema(x, numbers):
    return np.concatenate(
        [
            group * sigmoid(_crossed(first, second) + _crossed(second, first))
            for group, first, second in _ema_branches(x, numbers)
        ],
        axis=1,
    )


def ema_no_cross(x, numbers):
    return np.concatenate(
        [group * sigmoid(first + second) for group, first, second in _ema_branches(x, numbers)],
        axis=1,
    )


def ema_one_branch(x, numbers):
    parts = []
    for group, first, second in _ema_branches(x, numbers):
        branch = second if first is None else first
        parts.append(group * sigmoid(_crossed(branch, branch)))
    return np.concatenate(parts, axis=1)


FORMS = {
    "se": se,
    "cbam": cbam,
    "bam": bam,
    "eca": eca,
    "ca": ca,
    "sa": sa,
    "nam": nam,
    "triplet": triplet,
    "gam": gam,
    "ema": ema,
    "ema-g4": ema,
    "ema-g16": ema,
    "ema-g32": ema,
    "ema-early": ema,
    "ema-no-cross": ema_no_cross,
    "ema-no-3x3": ema_one_branch,
    "ema-no-1x1": ema_one_branch,
    "none": lambda x, numbers: x,
}
