"""Weights of one model carried into another: to the very outputs, and with a report that counts."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import ClassificationModel

from yolo_ema.engine.models.blueprint import inputs_of, run_layers
from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.engine.weights.transfer import transfer_weights
from yolo_ema.errors import TransferError
from yolo_ema.nn import EfficientMultiScaleAttention

pytestmark = pytest.mark.usefixtures("one_thread")

_LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("yolov8s", "yolo26s")]
FAMILIES = ("yolov5n", "yolov8n", "yolo11n", "yolo26n", *_LARGE)
WIDE = 80  # classes of COCO


def _random(name: str, classes: int) -> nn.Module:
    """A model whose every tensor differs from what building gives, statistics of the batch norms
    included.
    """
    torch.manual_seed(0)
    model = build_model(name, classes)
    for key, tensor in model.state_dict().items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif key.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif ".dfl." not in key:
            tensor.normal_(0, 0.1)
    return model.eval()


def _without_ema(model: nn.Module) -> nn.Module:
    for layer in model.model:
        if isinstance(layer, EfficientMultiScaleAttention):
            identity = nn.Identity()
            identity.i, identity.f, identity.type = layer.i, layer.f, layer.type
            model.model[layer.i] = identity
    return model.eval()


def _raw(model: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """The head's maps before decoding, those of both heads where it has two."""
    _, raw = model(image)
    if "one2one" not in raw:
        return {key: raw[key] for key in ("boxes", "scores")}
    return {
        f"{head}.{key}": raw[head][key]
        for head in ("one2many", "one2one")
        for key in ("boxes", "scores")
    }


def _ema_tensors(model: nn.Module) -> set[str]:
    blocks = [layer for layer in model.model if isinstance(layer, EfficientMultiScaleAttention)]
    return {f"model.{block.i}.{key}" for block in blocks for key in block.state_dict()}


def _class_tensors(model: nn.Module) -> set[str]:
    """The convolutions with one output per class."""
    return {
        key
        for key in model.state_dict()
        if key.split(".")[2] in {"cv3", "one2one_cv3"}
        and key.split(".")[4] == "2"
        and len(key.split(".")) == 6
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_without_its_blocks_the_plain_model_remains(family):
    source, target = _random(family, WIDE), build_model(f"{family}-ema", WIDE)
    report = transfer_weights(source, target)
    assert set(report.new) == _ema_tensors(target)
    assert (report.transferred, report.total) == (
        len(source.state_dict()),
        len(target.state_dict()),
    )
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected, found = _raw(source, image), _raw(_without_ema(target), image)
        assert torch.equal(source(image)[0], target(image)[0])
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_with_another_class_count_only_the_class_layers_are_new(family):
    source, target = _random(family, WIDE), build_model(f"{family}-ema", 10)
    initial = copy.deepcopy(target.model[-1])
    report = transfer_weights(source, target)
    assert set(report.new) == _ema_tensors(target) | _class_tensors(target)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected, found = _raw(source, image), _raw(_without_ema(target), image)
    for key, value in expected.items():
        if key.endswith("boxes"):
            assert torch.equal(found[key], value), key
        else:
            assert found[key].shape == (1, 10, value.shape[2])
    for theirs, mine, before in zip(
        source.model[-1].cv3, target.model[-1].cv3, initial.cv3, strict=True
    ):
        assert mine[-1].in_channels == theirs[-1].in_channels, "the wide form is kept"
        assert torch.equal(mine[-1].bias, before[-1].bias), "the expected share of objects"


@pytest.mark.parametrize(
    "family",
    [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in ("yolo11s", "yolov5m"))],
)
def test_p2_takes_all_that_the_plain_model_has(family):
    source, target = _random(family, WIDE), build_model(f"{family}-ema-p2", 10)
    report = transfer_weights(source, target)
    assert report.transferred == len(source.state_dict()) - len(_class_tensors(source))
    given = {
        tensor.numpy().tobytes()
        for key, tensor in source.state_dict().items()
        if tensor.numel() > 1
    }
    held = {tensor.numpy().tobytes() for tensor in target.state_dict().values()}
    left = {
        key
        for key, tensor in source.state_dict().items()
        if tensor.numel() > 1 and tensor.numpy().tobytes() not in held
    }
    assert left == _class_tensors(source)
    assert given


@pytest.mark.parametrize("family", ["yolov5n", "yolov8n", "yolo11n", "yolo26n"])
def test_p2_computes_what_the_plain_neck_does_up_to_p3(family):
    """Each layer on the way up has the plain model's output: the correspondence is of roles, not of
    shapes alone.
    """
    source, target = _random(family, WIDE), build_model(f"{family}-ema-p2", WIDE)
    transfer_weights(source, target)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = run_layers(source.model[:-1], image)
        found = run_layers(_without_ema(target).model[:-1], image)
    level_3 = source.model[-1].f[0]
    up_to_level_3 = [
        output
        for output, layer in zip(found, target.model, strict=False)
        if not isinstance(layer, nn.Identity)
    ]
    for index in range(level_3 + 1):
        assert torch.equal(up_to_level_3[index], expected[index]), index
    head, plain = target.model[-1], source.model[-1]
    maps = inputs_of(plain, expected)
    with torch.no_grad():
        for attribute in ("cv2", "cv3"):
            for level, value in enumerate(maps):
                assert torch.equal(
                    getattr(head, attribute)[level + 1](value),
                    getattr(plain, attribute)[level](value),
                )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo11n-ema", "yolo26s-ema-p2", "yolov8n-ema-p2"])
def test_from_our_own_weights_everything_carries_over(name):
    """The second step starts from a model whose branches kept the wide form."""
    first = build_model(name, 10)
    transfer_weights(_random(name.split("-", maxsplit=1)[0], WIDE), first)
    second = build_model(name, 10)
    report = transfer_weights(first, second)
    assert (report.new, report.share) == ((), 1.0)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(first.eval()(image)[0], second.eval()(image)[0])
    third = build_model(name, 3)
    assert set(transfer_weights(second, third).new) == _class_tensors(third)


def test_from_ema_to_ema_p2_the_blocks_come_along():
    target = build_model("yolo11n-ema-p2", 10)
    report = transfer_weights(_random("yolo11n-ema", 10), target)
    blocks = [layer.i for layer in target.model if isinstance(layer, EfficientMultiScaleAttention)]
    new = {int(name.split(".")[1]) for name in report.new}
    assert [block in new for block in blocks] == [False, False, True, False, False, False], (
        "only the one at P2 is new"
    )


def test_the_source_and_the_targets_state_are_unchanged():
    source, target = _random("yolo11n", WIDE).train(), build_model("yolo11n-ema", 10)
    source.model[3].eval()
    for parameter in source.parameters():
        parameter.requires_grad_(False)  # as loaded checkpoints are
    before = copy.deepcopy(source.state_dict())
    frozen = {name for name, parameter in target.named_parameters() if not parameter.requires_grad}
    transfer_weights(source, target)
    assert all(torch.equal(before[key], value) for key, value in source.state_dict().items())
    assert source.training
    assert [layer.i for layer in source.model if not layer.training] == [3]
    # All convolutions of Ultralytics share one activation, which follows whichever model changed
    # its mode last.
    assert all(module.training for module in target.modules() if not isinstance(module, nn.SiLU))
    assert (
        {name for name, parameter in target.named_parameters() if not parameter.requires_grad}
        == frozen
        == {"model.28.dfl.conv.weight"}
    )
    target.model[-1].cv3[0][0][0].conv.weight.data.zero_()
    assert torch.equal(
        source.model[-1].cv3[0][0][0].conv.weight, before["model.23.cv3.0.0.0.conv.weight"]
    ), "nothing is shared"


def test_half_precision_weights():
    source, target = _random("yolov8n", WIDE).half(), build_model("yolov8n-ema", WIDE)
    transfer_weights(source, target)
    assert {tensor.dtype for tensor in target.parameters()} == {torch.float32}
    assert torch.equal(target.model[0].conv.weight, source.model[0].conv.weight.float())


def test_the_report_says_how_many_and_what_is_new():
    report = transfer_weights(_random("yolo11n", WIDE), build_model("yolo11n-ema", 10))
    assert report.as_text() == (
        "weights: 493 of 529 tensors carried over (the source has 499)\n"
        "new: 7 EfficientMultiScaleAttention: 6, 10 EfficientMultiScaleAttention: 6, 19 "
        "EfficientMultiScaleAttention: 6, "
        "23 EfficientMultiScaleAttention: 6, 27 EfficientMultiScaleAttention: 6, 28 Detect.cv3: 6"
    )
    found = report.as_json()
    assert (found["transferred"], found["total"], found["source_total"], found["share"]) == (
        493,
        529,
        499,
        93.19,
    )
    assert len(found["new"]) == 36


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (
            "yolo11s",
            "yolo11n-ema",
            (
                r"model.0.conv.weight is \(16, 3, 3, 3\) in the model and \(32, 3, 3, 3\) in the "
                r"weights: another scale"
            ),
        ),
        (
            "yolov8n",
            "yolo11n-ema",
            r"layers that the weights lack \(C2PSA, C3k2; they have C2f\): another family",
        ),
        ("yolov5n", "yolov8n-ema-p2", r"\(C2f; they have C3\): another family"),
    ],
)
def test_too_little_matches(source, target, reason):
    model = build_model(target, 10)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        TransferError,
        match=rf"only \d+ of the model's \d+ tensors fit the weights, \d+ %; expected at least 50 "
        rf"%. .*{reason}",
    ):
        transfer_weights(build_model(source, WIDE), model)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def _class_outputs(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight and bias of each level's last convolution, of both heads where there are two."""
    head = model.model[-1]
    branches = [*head.cv3, *(getattr(head, "one2one_cv3", None) or ())]
    return [(branch[-1].weight.detach(), branch[-1].bias.detach()) for branch in branches]


@pytest.mark.parametrize("name", ["yolo11n-ema", "yolo26n-ema"])
@pytest.mark.parametrize(
    ("source_names", "target_names", "expected"),
    [
        ("person car", "car person", (1, 0)),
        ("person car", "Person boat CAR", (0, None, 1)),
        ("person car boat", "boat person", (2, 0)),
        ("person car", "boat plane", (None, None)),
        (" ".join(f"other{i}" for i in range(79)) + " car", "boat car", (None, 79)),
    ],
    ids=["permuted", "superset", "subset", "disjoint", "wider branches"],
)
def test_class_rows_follow_the_names(name, source_names, target_names, expected):
    wanted = dict(enumerate(target_names.split()))
    source = _random(name, len(source_names.split()))
    source.names = dict(enumerate(source_names.split()))
    target = build_model(name, len(wanted))
    target.names = dict(wanted)
    biases = [bias.clone() for _, bias in _class_outputs(target)]
    report = transfer_weights(source, target)
    matched = [row for row, given in enumerate(expected) if given is not None]
    assert len(_class_outputs(target)) == (6 if name.startswith("yolo26") else 3)
    for mine, theirs, initial in zip(
        _class_outputs(target), _class_outputs(source), biases, strict=True
    ):
        for row, given in enumerate(expected):
            if given is None:
                assert torch.equal(mine[1][row], initial[row])
                assert not (mine[0][row].unsqueeze(0) == theirs[0]).flatten(1).all(1).any()
            else:
                assert torch.equal(mine[0][row], theirs[0][given])
                assert torch.equal(mine[1][row], theirs[1][given])
    assert set(report.new) == (_class_tensors(target) if None in expected else set())
    assert set(report.partly) == set(report.new)
    assert f"class rows by name: {len(matched)} of {len(wanted)}" in report.as_text()
    assert report.as_json()["class_rows_by_name"] == len(matched)


@pytest.mark.parametrize(
    ("source_names", "target_names"),
    [("person car", "person car"), ("0 1", "car person"), ("person car", "class0 class1")],
)
def test_class_rows_stay_in_place_where_names_are_equal_or_say_nothing(source_names, target_names):
    source, target = _random("yolo11n-ema", 2), build_model("yolo11n-ema", 2)
    source.names = dict(enumerate(source_names.split()))
    target.names = dict(enumerate(target_names.split()))
    report = transfer_weights(source, target)
    assert (report.new, report.rows) == ((), None)
    for mine, theirs in zip(_class_outputs(target), _class_outputs(source), strict=True):
        assert all(map(torch.equal, mine, theirs))
    assert "by name" not in report.as_text()


def test_the_required_share_is_the_callers_choice():
    source, target = build_model("yolo11n", WIDE), build_model("yolo11n-ema-p2", 10)
    with pytest.raises(
        TransferError,
        match=r"493 of the model's 629 tensors fit the weights, 78 %; expected at least 90 %. .* "
        r"are new",
    ):
        transfer_weights(source, target, minimum_share=0.9)
    assert transfer_weights(source, target, minimum_share=0.78).transferred == 493


def test_not_a_detection_model():
    target = build_model("yolov8n-ema")
    with pytest.raises(
        TransferError, match="the source is not a YOLO detection model: it ends in Linear"
    ):
        transfer_weights(nn.Linear(2, 2), target)
    with pytest.raises(TransferError, match="ends in Classify"):
        transfer_weights(ClassificationModel("yolov8n-cls.yaml", verbose=False), target)


def test_fused_weights_are_refused():
    fused = _random("yolo26n", WIDE).fuse(verbose=False)
    with pytest.raises(TransferError, match="fused for inference"):
        transfer_weights(fused, build_model("yolo26n-ema"))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("weights", "name", "counts"),
    [
        ("yolo11n_coco_from_int8.pt", "yolo11n-ema", (493, 529)),
        ("yolo11n_coco_from_int8.pt", "yolo11n-ema-p2", (493, 629)),
        ("yolov8n_coco_from_int8.pt", "yolov8n-ema", (349, 385)),
        ("yolov8n_coco_from_int8.pt", "yolov8n-ema-p2", (349, 473)),
    ],
)
def test_real_weights(shared, weights, name, counts):
    source = load_model(shared / "weights" / weights).model
    report = transfer_weights(source, build_model(name, 10))
    assert (report.transferred, report.total) == counts
    if name.endswith("-ema"):
        same = build_model(name, WIDE)
        transfer_weights(source, same)
        image = torch.rand(1, 3, 128, 160)
        with torch.no_grad():
            assert torch.equal(_without_ema(same)(image)[0], source.eval()(image)[0])
