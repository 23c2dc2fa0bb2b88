"""An equal start: what two models share begins with the same values, and both see the same images
in the same order.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.training.train import train
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.engine.weights.paired_start import PairedStart
from yolo_ema.engine.weights.transfer import corresponding_tensors, transfer_weights
from yolo_ema.errors import CheckFailedError
from yolo_ema.options.train import TrainOptions

REPOSITORY = Path(__file__).resolve().parents[4]
MODELS = REPOSITORY / "experiments" / "models"
sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))
from tiny_dataset import draw_dataset  # noqa: E402 - it lies beside the tests that it was made for


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """Plain weights of 80 classes, as Ultralytics publishes them, but random."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "plain.pt"
    torch.save({"model": build_model("yolo11n", 80), "train_args": {}}, path)
    return path


def started(
    model: str | Path, pretrained: Path, *, seed: int = 0, noise: int = 0, names: str = ""
) -> SimpleNamespace:
    """Return what the start sees of a trainer: a model built with whatever random numbers came, and
    its average.
    """
    torch.manual_seed(noise)
    built = _named(build_model(model, 10), names)
    report = transfer_weights(load_model(pretrained).model, built)
    average = _named(build_model(model, 10), names)
    transfer_weights(load_model(pretrained).model, average)
    average.load_state_dict(built.state_dict())
    return SimpleNamespace(
        model=built,
        ema=SimpleNamespace(ema=average),
        transfer=report,
        resume=False,
        data={"nc": 10},
        args=SimpleNamespace(pretrained=str(pretrained), seed=seed, deterministic=False),
        run_settings=SimpleNamespace(trust=False),
        set_model_names_for_load=lambda model: _named(model, names),
    )


def _named(model: torch.nn.Module, names: str) -> torch.nn.Module:
    if names:
        model.names = dict(enumerate(names.split()))
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "own"),
    [
        ("yolo11n", 0),
        ("yolo11n-ema", 30),
        (MODELS / "yolo11n-ema-backbone.yaml", 12),
        (MODELS / "yolo11n-ema-neck.yaml", 18),
        ("yolo11n-ema-p2", None),
    ],
    ids=str,
)
def test_everything_shared_starts_equal_whatever_was_drawn_before(model, own, pretrained):
    start, trainer = PairedStart("yolo11n"), started(model, pretrained, noise=9)
    start(trainer)
    baseline = started("yolo11n", pretrained, noise=1)
    PairedStart("yolo11n")(baseline)
    shared = list(corresponding_tensors(baseline.model, trainer.model))
    assert all(torch.equal(mine, theirs) for _, mine, theirs in shared)
    assert start.facts["equal_to_baseline"] == len(shared)
    assert start.facts["of"] == len(trainer.model.state_dict())
    assert start.facts["own"] == start.facts["of"] - len(shared)
    if own is not None:
        assert (
            start.facts["own"] == own
        )  # six tensors a block: two convolutions and a norm, with weight and bias each
        assert len(shared) == 499
    state = trainer.model.state_dict()
    assert all(
        torch.equal(value, state[name]) for name, value in trainer.ema.ema.state_dict().items()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "blocks"), [("yolo11n-ema", 5), ("yolo11n-ema-p2", 5), ("yolo11n", 0)]
)
def test_a_baseline_shares_its_own_blocks_with_the_arms(model, blocks, pretrained):
    start, trainer = PairedStart("yolo11n-ema"), started(model, pretrained, noise=9)
    start(trainer)
    baseline = started("yolo11n-ema", pretrained, noise=1)
    PairedStart("yolo11n-ema")(baseline)
    shared = list(corresponding_tensors(baseline.model, trainer.model))
    assert all(torch.equal(mine, theirs) for _, mine, theirs in shared)
    assert sum(".conv3x3.weight" in name for name, *_ in shared) == blocks
    assert start.facts["own"] == len(trainer.model.state_dict()) - len(shared)
    state = trainer.model.state_dict()
    assert all(
        torch.equal(value, state[name]) for name, value in trainer.ema.ema.state_dict().items()
    )


@pytest.mark.slow
def test_the_seed_alone_decides_what_is_drawn_with_torchs_distribution(pretrained):
    outputs = []
    for seed in (0, 1):
        trainer = started("yolo11n", pretrained, seed=seed)
        PairedStart("yolo11n")(trainer)
        outputs.append([branch[-1].weight.detach() for branch in trainer.model.model[-1].cv3])
    for first, second in zip(*outputs, strict=True):
        assert not torch.equal(first, second)
        bound = first[0].numel() ** -0.5
        assert first.abs().max() <= bound
        assert first.std() == pytest.approx(bound / 3**0.5, rel=0.1)  # of a uniform distribution


@pytest.mark.slow
def test_the_random_numbers_afterwards_are_the_same(pretrained):
    following = []
    for model in ("yolo11n", "yolo11n-ema"):
        trainer = started(model, pretrained)
        PairedStart("yolo11n")(trainer)
        following.append(torch.rand(4))
    assert torch.equal(*following)


def test_rows_of_classes_that_were_carried_over_stay_and_the_rest_is_drawn(tmp_path):
    torch.manual_seed(5)
    plain = _named(build_model("yolo11n", 3), "car boat van")
    source = tmp_path / "three.pt"
    torch.save({"model": plain, "train_args": {}}, source)
    names = "a van c d e f g h i car"
    outputs = []
    for model in ("yolo11n", "yolo11n-ema"):
        trainer = started(model, source, noise=len(outputs), names=names)
        PairedStart("yolo11n")(trainer)
        outputs.append([branch[-1].weight.detach() for branch in trainer.model.model[-1].cv3])
    given = [branch[-1].weight.detach() for branch in plain.model[-1].cv3]
    for first, second, theirs in zip(*outputs, given, strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first[[9, 1]], theirs[[0, 2]])
        assert not torch.equal(first[0], first[2])


def test_an_unequal_start_is_refused(pretrained):
    trainer = started("yolo11n-ema", pretrained)
    with torch.no_grad():
        trainer.model.model[1].conv.weight.add_(1e-3)
    with pytest.raises(
        CheckFailedError, match=r"the start is not equal: 1 of 499 tensors.*model\.1\.conv\.weight"
    ):
        PairedStart("yolo11n")(trainer)


def test_random_initial_weights_are_not_an_equal_start_and_it_says_so(pretrained):
    trainer = started("yolo11n-ema", pretrained)
    trainer.args.pretrained, trainer.transfer = False, None
    start = PairedStart("yolo11n")
    start(trainer)
    assert start.facts == {"pretrained": None}


@pytest.mark.slow
def test_a_run_of_the_baseline_itself_starts_as_usual(tmp_path, monkeypatch, pretrained):
    """So runs of equal settings are the same in studies with different baselines."""
    monkeypatch.chdir(tmp_path)
    data = draw_dataset(tmp_path / "tiny")
    drawn: list[dict[str, torch.Tensor]] = []

    def begin(trainer):
        for start in (lambda _: None, PairedStart("yolo11n"), PairedStart("yolo11n-ema")):
            start(trainer)
            drawn.append(
                {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
            )
        raise CheckFailedError("enough seen")

    first = {"model": "yolo11n-ema", "data": str(data), "pretrained": str(pretrained)}
    options = TrainOptions(**first, imgsz=64, epochs=1, batch=4, seed=3, device="cpu", offline=True)
    with pytest.raises(CheckFailedError, match="enough seen"):
        train(options, callbacks={"on_pretrain_routine_end": begin})
    plain, without_blocks, with_blocks = drawn
    assert any("conv3x3" in name for name in plain)
    assert all(
        torch.equal(plain[name], tensor)
        for name, tensor in with_blocks.items()
        if ".cv3." not in name
    )
    assert all(torch.equal(without_blocks[name], tensor) for name, tensor in with_blocks.items())


@pytest.mark.slow
def test_two_arms_see_the_same_images_in_the_same_order(tmp_path, monkeypatch, pretrained):
    monkeypatch.chdir(tmp_path)
    data = draw_dataset(tmp_path / "tiny")
    seen: dict[str, list[str]] = {}
    for model in ("yolo11n", "yolo11n-ema"):
        batches = seen.setdefault(model, [])

        def listen(trainer, batches=batches):
            preprocess = trainer.preprocess_batch

            def heard(batch):
                batches.append(hashlib.sha256(batch["img"].numpy().tobytes()).hexdigest())
                return preprocess(batch)

            trainer.preprocess_batch = heard

        options = TrainOptions(
            model=model,
            data=str(data),
            imgsz=64,
            epochs=1,
            batch=4,
            device="cpu",
            pretrained=str(pretrained),
            offline=True,
            settings={"plots": "false", "val": "false"},
        )
        train(
            options,
            callbacks={"on_pretrain_routine_end": PairedStart("yolo11n"), "on_train_start": listen},
        )
    assert len(seen["yolo11n"]) == 3
    assert seen["yolo11n"] == seen["yolo11n-ema"]
