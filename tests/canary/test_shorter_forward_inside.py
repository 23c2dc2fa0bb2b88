"""What the shorter paths from bytes to boxes assume about Ultralytics and torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.tasks import DetectionModel


def test_a_model_is_layers_with_the_sources_of_their_inputs_and_a_list_of_what_to_keep():
    model = DetectionModel("yolo11n.yaml", verbose=False).eval()
    outputs, x = [], torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = model(x)[0]
        for layer in model.model:
            if layer.f != -1:
                x = (
                    outputs[layer.f]
                    if isinstance(layer.f, int)
                    else [x if n == -1 else outputs[n] for n in layer.f]
                )
            x = layer(x)
            outputs.append(x if layer.i in model.save else None)
    np.testing.assert_array_equal(x[0], wanted)


def test_the_head_keeps_box_and_class_branches_as_sequences_that_end_with_a_plain_convolution():
    head = Detect(nc=3, ch=(16, 32))
    for branch in (*head.cv2, *head.cv3):
        assert isinstance(branch[-1], nn.Conv2d)
    assert all(isinstance(part, Conv) for branch in head.cv2 for part in branch[:-1])


def test_torch_joins_a_convolution_and_its_activation():
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(1, 8, 9, 9, generator=generator),
        torch.randn(4, 8, 3, 3, generator=generator),
    )
    bias = torch.randn(4, generator=generator)
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, [1, 1], [1, 1], [1, 1], 1, None)
    found = torch.ops.mkldnn._convolution_pointwise(
        x, packed, bias, [1, 1], [1, 1], [1, 1], 1, "swish", [], ""
    )
    np.testing.assert_allclose(
        found, functional.silu(functional.conv2d(x, weight, bias, padding=1)), rtol=1e-4, atol=1e-4
    )
