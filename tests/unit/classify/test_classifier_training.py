"""Training by a recipe: the schedule, an exact resume, equal arms, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
from pathlib import Path

import pytest
import torch

from yolo_ema.classify import training
from yolo_ema.classify.checkpoints import load_checkpoint, load_classifier, save_checkpoint
from yolo_ema.classify.models import Architecture
from yolo_ema.classify.recipes import RECIPES, recipe_for
from yolo_ema.classify.training import train
from yolo_ema.classify.validation import val
from yolo_ema.errors import (
    CheckFailedError,
    ConfigError,
    DamagedWeightsError,
    DataError,
    DiskFullError,
    ModelError,
    WeightsError,
    WeightsNotFoundError,
)
from yolo_ema.options.classify import ClassifyTrainOptions, ClassifyValOptions


def options(folder: Path, **more: object) -> ClassifyTrainOptions:
    """Return options of a training of a second: MobileNetV2 on images of 32 pixels."""
    given = {"model": "mobilenetv2", "attention": "ema", "epochs": 2, "batch": 8, "lr": 0.01}
    return ClassifyTrainOptions(
        data=str(folder),
        project=folder.parent / "runs",
        device="cpu",
        workers=0,
        **{**given, **more},  # type: ignore[arg-type]
    )


def rates(name: str) -> list[float]:
    recipe = RECIPES[name]
    optimizer = training._optimizer(torch.nn.Linear(2, 2), recipe)
    schedule = training._schedule(optimizer, recipe)
    found = []
    for epoch in range(recipe.epochs):
        schedule.step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_cifar_recipe_is_sgd_with_torchs_multistep_schedule():
    optimizer = training._optimizer(torch.nn.Linear(2, 2), RECIPES["cifar100-resnet50"])
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 5e-4, False)
    peer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(peer, [60, 120, 160], gamma=0.2)
    expected = []
    for _ in range(200):
        expected.append(peer.param_groups[0]["lr"])
        peer.step()
        schedule.step()
    assert rates("cifar100-resnet50") == pytest.approx(expected)


def test_imagenet_recipe_warms_up_to_its_rate_and_falls_to_nothing():
    found = rates("imagenet-mobilenetv2")
    assert found[0] == pytest.approx(1e-5)
    assert found[:6] == sorted(found[:6])
    assert max(found) == pytest.approx(0.4, rel=1e-3)
    assert found[5:] == sorted(found[5:], reverse=True)
    assert found[-1] < 1e-4


def test_options_stand_in_for_the_recipes_values():
    found = recipe_for(ClassifyTrainOptions(preset="imagenet-mobilenetv2", epochs=2, lr=0.1))
    assert (found.epochs, found.lr, found.warmup_epochs, found.batch) == (2, 0.1, 1, 512)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["cifar100-resnet50", "imagenet-mobilenetv2"])
def test_a_resumed_run_ends_exactly_as_one_that_never_stopped(classes_folder, monkeypatch, preset):
    # one of them with dropout, random augmentation and a moving average
    small = {"preset": preset, "imgsz": 32}
    whole = train(options(classes_folder, name="whole", **small))
    write = training._write_table

    def stop(path, record):
        write(path, record)
        if len(record.content["epochs"]) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        train(options(classes_folder, name="cut", **small))
    monkeypatch.undo()
    cut = classes_folder.parent / "runs" / "cut"
    assert json.loads((cut / "run.json").read_text())["status"] == "interrupted"
    assert load_checkpoint(cut / "last.pt")["epoch"] == 1

    resumed = train(ClassifyTrainOptions(resume=cut / "last.pt", device="cpu", workers=1))
    first, second = (load_checkpoint(run / "last.pt") for run in (whole.folder, cut))
    for place in (lambda it: it["weights"], lambda it: it["resume"]["network"]):
        ours, theirs = place(first) or {}, place(second) or {}
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    if preset == "imagenet-mobilenetv2":  # what is scored is the moving average
        own = first["resume"]["network"]["classifier.weight"]
        assert not torch.equal(first["weights"]["classifier.weight"], own)
    states = [content["resume"]["optimizer"]["state"] for content in (first, second)]
    assert all(
        torch.equal(states[0][key]["momentum_buffer"], states[1][key]["momentum_buffer"])
        for key in states[0]
    )
    drop = {"seconds", "train_seconds", "train_process_seconds"}
    assert {k: v for k, v in whole.last.items() if k not in drop} == {
        k: v for k, v in resumed.last.items() if k not in drop
    }
    record = json.loads((cut / "run.json").read_text())
    assert (record["status"], len(record["epochs"]), len(record["resumed"])) == ("finished", 2, 1)
    rows = list(csv.DictReader((cut / "results.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    with pytest.raises(
        ConfigError, match="this run has ended after 2 of 2 epochs; to train for more, start a new"
    ):
        train(ClassifyTrainOptions(resume=cut / "last.pt", device="cpu"))
    with pytest.raises(ConfigError, match=r"resume from the last\.pt"):
        train(ClassifyTrainOptions(resume=cut / "best.pt", device="cpu"))


@pytest.fixture
def cut(classes_folder, monkeypatch, capsys) -> Path:
    """Return the folder of a run of two epochs that was interrupted after the first."""
    run_epoch = training._Training.run_epoch

    def stop(self, epoch):
        if epoch:
            raise KeyboardInterrupt
        run_epoch(self, epoch)

    monkeypatch.setattr(training._Training, "run_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        train(options(classes_folder, name="cut"))
    monkeypatch.undo()
    folder = classes_folder.parent / "runs" / "cut"
    last = folder / "last.pt"
    said = f"{last} is whole, resume it: yolo-ema classify train --resume {last}"
    assert said in capsys.readouterr().err
    return folder


def test_a_run_goes_on_with_its_images_where_they_have_been_moved_to(cut, classes_folder):
    resume = {"resume": cut / "last.pt", "device": "cpu", "workers": 0}
    moved = classes_folder.rename(classes_folder.parent / "elsewhere")
    with pytest.raises(DataError, match=r"no folder .*trained on it; say with --data where it lie"):
        train(ClassifyTrainOptions(**resume))
    done = train(ClassifyTrainOptions(**resume, data=str(moved)))
    assert done.last["top1"] >= 0
    found = val(ClassifyValOptions(weights=cut / "last.pt", device="cpu", workers=0))
    assert found.data == str(moved)


def test_a_run_does_not_go_on_with_other_images(cut, classes_folder):
    (classes_folder / "train" / "dark" / "0.png").unlink()
    with pytest.raises(DataError, match=r"images of train are not those .* \(24 then, 23 now"):
        train(ClassifyTrainOptions(resume=cut / "last.pt", device="cpu", workers=0))
    assert json.loads((cut / "run.json").read_text())["status"] == "interrupted"
    assert load_checkpoint(cut / "last.pt")["epoch"] == 1


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    content = {
        "architecture": Architecture("resnet8-tiny", "none", (), ("a", "b")),
        "recipe": RECIPES["cifar10-resnet8"],
        "weights": {},
        "metrics": {},
        "resume": None,
    }
    save_checkpoint(tmp_path / "last.pt", **content, epoch=1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match=r"last\.pt; the file that was there before is intact"):
        save_checkpoint(tmp_path / "last.pt", **content, epoch=2)
    assert load_checkpoint(tmp_path / "last.pt")["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.slow
def test_a_trained_classifier_is_scored_as_in_training_and_checks_its_classes(classes_folder):
    made = train(options(classes_folder, epochs=1))
    weights = made.folder / "last.pt"
    found = val(ClassifyValOptions(weights=weights, device="cpu", workers=0))
    assert found.scores.images == 12
    assert found.scores.top1 == made.last["top1"]
    assert found.scores.loss == pytest.approx(made.last["val_loss"], rel=1e-5)
    assert found.scores.top5 is None
    for split in ("train", "val"):
        (classes_folder / split / "mid").rename(classes_folder / split / "medium")
    with pytest.raises(
        DataError, match=r"3 classes and the classifier 3: class 2 is 'medium' where it has 'mid'"
    ):
        val(ClassifyValOptions(weights=weights, device="cpu", workers=0))


def test_arms_see_the_same_images_in_the_same_order(classes_folder, monkeypatch):
    seen: dict[str, list[torch.Tensor]] = {}
    starts = {}

    def step(self, inputs, labels):
        name = self.plan.architecture.attention
        starts.setdefault(name, {k: v.clone() for k, v in self.network.state_dict().items()})
        seen.setdefault(name, []).append(inputs)
        return torch.zeros(())

    monkeypatch.setattr(training._Training, "_step", step)
    for name in ("none", "eca"):
        train(options(classes_folder, attention=name, epochs=1))
    assert len(seen["none"]) == 3
    assert all(map(torch.equal, seen["none"], seen["eca"]))
    shared = starts["none"].keys()
    assert shared < starts["eca"].keys()
    weights = [name for name in shared if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(starts["none"][name], starts["eca"][name]) for name in weights)


def test_a_loss_that_is_no_number_ends_the_run(classes_folder, monkeypatch):
    monkeypatch.setattr(training._Training, "_step", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(CheckFailedError, match="take a lower --lr"):
        train(options(classes_folder, name="nan"))
    record = json.loads((classes_folder.parent / "runs" / "nan" / "run.json").read_text())
    assert record["status"] == "failed"


def test_a_damaged_image_in_a_loading_process_is_one_clear_error(classes_folder):
    (classes_folder / "train" / "dark" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^the image [^\n]*dark/0\.png cannot be read[^\n]*$"):
        train(dataclasses.replace(options(classes_folder), workers=1))


def test_what_does_not_fit_is_said_before_a_folder_is_made(classes_folder):
    with pytest.raises(ConfigError, match="does not fit mobilenetv2"):
        train(options(classes_folder, attention="se", attention_arguments=(0,)))
    assert not (classes_folder.parent / "runs").exists()
    with pytest.raises(ModelError, match="no attention block is named ''; there are none, ema"):
        train(options(classes_folder, attention=""))
    (classes_folder.parent / "taken").touch()
    with pytest.raises(ConfigError, match=r"--project is .*taken, which is a file"):
        train(dataclasses.replace(options(classes_folder), project=classes_folder.parent / "taken"))
    with pytest.raises(ConfigError, match="leave out --model, --epochs, --seed"):
        ClassifyTrainOptions(resume="last.pt", model="mobilenetv2", epochs=3, seed=0)
    for name in (None, "none"):
        with pytest.raises(ConfigError, match="without a block that takes them"):
            ClassifyTrainOptions(attention=name, attention_arguments=(4,))


def test_files_that_are_no_classifier_are_refused(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"there is no weights file no\.pt"):
        load_classifier(Path("no.pt"))
    (tmp_path / "noise.pt").write_bytes(b"noise" * 100)
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    (tmp_path / "empty.pt").touch()
    (tmp_path / "photo.pt").write_bytes(b"\xff\xd8\xff" + b"0" * 100)
    for name, said in {
        "noise.pt": "is not a weights file: it is a text file; expected a checkpoint",
        "empty.pt": "is not a weights file: it is empty",
        "photo.pt": "is not a weights file: it is a JPEG image",
        "cut.pt": "is damaged or cut off: .*; expected a checkpoint",
    }.items():
        with pytest.raises(DamagedWeightsError, match=rf"{name} {said}"):
            load_classifier(tmp_path / name)
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="a detector's weights go to yolo-ema val"):
        load_classifier(tmp_path / "other.pt")
    torch.save({"format": "yolo-ema classifier 1", "architecture": {}}, tmp_path / "hollow.pt")
    with pytest.raises(DamagedWeightsError, match=r"its entries do not fit \(.*missing 4 required"):
        load_classifier(tmp_path / "hollow.pt")


def test_a_checkpoint_with_wrong_entries_is_scored_and_resumed_by_no_one(cut):
    last = cut / "last.pt"
    whole = load_checkpoint(last)
    recipe, architecture = whole["recipe"], whole["architecture"]
    tensors = dict(list(whole["weights"].items())[1:])
    for change, said in (
        ({"recipe": {key: recipe[key] for key in recipe if key != "lr"}}, "argument: 'lr'"),
        ({"recipe": {**recipe, "novel": 1}}, "unexpected keyword argument 'novel'"),
        ({"architecture": None}, "not iterable|has no attribute"),
        ({"architecture": {**architecture, "attention": "emma"}}, "did you mean 'ema'"),
        ({"weights": tensors}, "Missing key"),
        ({"epoch": "one"}, "invalid literal"),
    ):
        torch.save({**whole, **change}, last)
        for use in (
            lambda: load_classifier(last),
            lambda: train(ClassifyTrainOptions(resume=last, device="cpu", workers=0)),
        ):
            with pytest.raises(
                DamagedWeightsError, match=rf"last\.pt is damaged, or of another .*({said})"
            ):
                use()
    torch.save({**whole, "resume": {}}, last)
    with pytest.raises(DamagedWeightsError, match="there is no 'seed'"):
        train(ClassifyTrainOptions(resume=last, device="cpu"))
    torch.save({key: whole[key] for key in whole if key != "architecture"}, last)
    with pytest.raises(DamagedWeightsError, match="there is no 'architecture'"):
        train(ClassifyTrainOptions(resume=last, device="cpu"))


def test_a_run_whose_record_is_lost_goes_on_with_a_new_one_and_not_with_a_cut_one(cut):
    resume = ClassifyTrainOptions(resume=cut / "last.pt", device="cpu", workers=0)
    record = cut / "run.json"
    record.write_text(record.read_text()[:200])
    with pytest.raises(DataError, match=r"run\.json is not JSON"):
        train(resume)
    record.unlink()
    train(resume)
    written = json.loads(record.read_text())
    assert written["status"] == "finished"
    assert written["recipe"]["epochs"] == 2
    assert [entry["epoch"] for entry in written["epochs"]] == [2]
