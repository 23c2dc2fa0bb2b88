from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.cli import VERBS
from yolo_ema.errors import ConfigError
from yolo_ema.io.resources import missing_weights, weights_dir
from yolo_ema.options.demo import DemoOptions
from yolo_ema.options.export import ExportOptions
from yolo_ema.options.fields import Options, flag_of, option
from yolo_ema.options.locate import LocateOptions
from yolo_ema.options.parser import (
    add_arguments,
    options_from_namespace,
    parse_overrides,
    resolve,
)
from yolo_ema.options.shared import MOST_SEED
from yolo_ema.options.train import LATEST, TrainOptions
from yolo_ema.options.verify import VerifyOptions


@dataclass(frozen=True, kw_only=True)
class Example(Options):
    source: tuple[str, ...] = option(positional=True, help="sources")
    count: int = option(3, help="a count, 100% of it", at_least=1)
    share: float | None = option(None, help="a share", at_least=0, at_most=1, group="shares")
    out: Path | None = option(None, help="a folder")
    annotate: bool = option(True, help="draw")
    kind: str = option("a", choices=("a", "b"), help="kind")
    line: tuple[str, ...] = option((), repeated=True, help="lines")
    imgsz: tuple[int, ...] = option((), help="sizes", image_size=True, group="sizes")
    wait: float = option(1.0, help="a time", above=0, unit="seconds")
    settings: dict[str, str] = option({}, overrides=True, help="settings")
    GROUPS = ("sizes", "shares")

    def problems(self) -> Iterator[str]:
        if self.out == Path(self.kind):
            yield "--out is --kind"


def _parse(*words: str) -> Example:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Example)
    return options_from_namespace(Example, parser.parse_args(words))


def test_defaults_come_from_the_fields():
    assert _parse("x.jpg") == Example(source=("x.jpg",))


def test_every_kind_of_field_is_parsed():
    found = _parse(
        "a",
        "b",
        "--count",
        "7",
        "--share",
        "0.5",
        "--out",
        "o",
        "--no-annotate",
        "--kind",
        "b",
        "--imgsz",
        "384,640",
    )
    assert found == Example(
        source=("a", "b"),
        count=7,
        share=0.5,
        out=Path("o"),
        annotate=False,
        kind="b",
        imgsz=(384, 640),
    )


def test_comma_options_are_repeatable_and_swallow_no_source():
    found = _parse("--line", "0,1,2,3", "--line", "gate=0,0,1,1", "x.jpg")
    assert found == Example(source=("x.jpg",), line=("0,1,2,3", "gate=0,0,1,1"))


@dataclass(frozen=True, kw_only=True)
class WithWeights(Options):
    weights: Path | None = option(None, help="one", weights=True)
    artifact: tuple[Path, ...] = option((), help="several", weights=True)


def test_shipped_weights_are_known_by_their_bare_name(monkeypatch, tmp_path):
    name = "yolo11n-ema-visdrone.pt"
    monkeypatch.chdir(tmp_path)
    found = WithWeights(
        weights=Path(name), artifact=(Path("own.onnx"), Path(name), Path("weights", name))
    )
    assert found == WithWeights(
        weights=weights_dir() / name,
        artifact=(Path("own.onnx"), weights_dir() / name, Path("weights", name)),
    )
    assert WithWeights() == WithWeights(weights=None)
    Path(name).touch()
    assert WithWeights(weights=Path(name)).weights == Path(name), "a file here comes first"


def test_the_error_of_missing_weights_knows_the_shipped_ones_by_name(tmp_path):
    assert "did you mean 'yolo11n-ema-visdrone.pt'" in str(
        missing_weights(Path("yolo11n-ema-visdron.pt"))
    )
    assert "did you mean" not in str(missing_weights(tmp_path / "yolo11n-ema-visdron.pt"))


@dataclass(frozen=True, kw_only=True)
class WithoutSources(Options):
    splits: tuple[str, ...] = option((), choices=("train", "val"), help="the splits")
    source: tuple[Path, ...] = option((), help="the sources")


@pytest.mark.parametrize("words", [["--splits", "train,val"], ["--splits", "train", "val"]])
def test_lists_are_written_with_commas_or_as_words(words):
    parser = argparse.ArgumentParser()
    add_arguments(parser, WithoutSources)
    found = options_from_namespace(
        WithoutSources, parser.parse_args([*words, "--source", "a,b", "c"])
    )
    assert found == WithoutSources(splits=("train", "val"), source=(Path("a,b"), Path("c")))
    with pytest.raises(ConfigError, match=r"--splits is 'tran'; expected one of train, val"):
        options_from_namespace(WithoutSources, parser.parse_args(["--splits", "train,tran"]))


def test_a_flag_before_the_sources_swallows_none_of_them():
    assert _parse("--imgsz", "640", "x.jpg") == Example(source=("x.jpg",), imgsz=(640,))


@dataclass(frozen=True, kw_only=True)
class OptionalWord(Options):
    dataset: str = option(
        "visdrone", positional=True, choices=("visdrone", "coco"), help="the dataset"
    )


@pytest.mark.parametrize(("words", "dataset"), [([], "visdrone"), (["coco"], "coco")])
def test_a_positional_word_with_choices_may_be_left_out(words, dataset):
    parser = argparse.ArgumentParser()
    add_arguments(parser, OptionalWord)
    assert options_from_namespace(OptionalWord, parser.parse_args(words)) == OptionalWord(
        dataset=dataset
    )


def test_all_problems_are_reported_at_once():
    with pytest.raises(
        ConfigError, match=r"--kind is 'c'; expected one of a, b; --count is 0.*; --share is 2"
    ):
        Example(source=("x",), count=0, share=2.0, kind="c")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": 0}, "--count is 0; expected 1 or more"),
        ({"share": 1.5}, "--share is 1.5; expected 0 to 1"),
        ({"share": float("nan")}, "--share is nan; expected 0 to 1"),
        ({"share": "much"}, "--share is 'much'; expected a number, 0 to 1"),
        ({"wait": 0.0}, "--wait is 0.0; expected more than 0 seconds"),
        ({"imgsz": (640, 16)}, "--imgsz is 640,16; expected one number or height,width"),
        ({"imgsz": (64, 64, 64)}, "--imgsz is 64,64,64; expected one number or height,width"),
        ({"out": Path("a")}, "--out is --kind"),
    ],
)
def test_ranges_are_checked_where_they_are_stated(wrong, message):
    with pytest.raises(ConfigError) as raised:
        Example(source=("x",), **wrong)
    assert message in str(raised.value)


def test_help_shows_the_groups_in_their_order():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Example)
    shown = parser.format_help()
    order = ("--count", "sizes:", "--imgsz", "shares:", "--share ")
    places = [shown.rindex(word) for word in order]
    assert places == sorted(places)


def test_overrides():
    assert parse_overrides(["lr0=0.01", "name=a=b"]) == {"lr0": "0.01", "name": "a=b"}
    with pytest.raises(ConfigError, match="key=value"):
        parse_overrides(["lr0"])
    with pytest.raises(ConfigError, match="twice"):
        parse_overrides(["lr0=1", "lr0=2"])


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.words)
def test_every_verb_documents_every_option_and_names_a_function(verb):
    options = resolve(verb.options)
    assert issubclass(options, Options)
    for field in fields(options):
        assert len(field.metadata["help"]) > 8, field.name
    assert callable(resolve(verb.run))
    parser = argparse.ArgumentParser()
    add_arguments(parser, options)
    assert parser.format_help()


def test_verify_allows_what_export_allows():
    names = ("tolerance_px", "tolerance_score", "max_ap_loss", "max_ap50_loss")
    export, verify = (
        {one.name: one.default for one in fields(options) if one.name in names}
        for options in (ExportOptions, VerifyOptions)
    )
    assert export == verify


@pytest.mark.parametrize("wrong", [5, b"out", ["a", 5]])
def test_a_value_that_is_not_a_path_is_named(wrong):
    with pytest.raises(ConfigError, match=r"--out is .*; expected a path"):
        Example(source=("x",), out=wrong)


def test_an_empty_word_is_no_path(capsys):
    with pytest.raises(ConfigError, match="--out is ''; expected a path"):
        Example(source=("x",), out="")
    with pytest.raises(SystemExit):
        _parse("x.jpg", "--out", "")
    assert "--out: expected a path, got an empty word" in capsys.readouterr().err


def test_numbers_are_finite_also_where_they_have_no_limit():
    with pytest.raises(ConfigError, match="--telemetry-offset is inf; expected a finite number"):
        LocateOptions(results=("a.jsonl",), telemetry_offset=float("inf"))


def test_python_code_gives_paths_as_text():
    found = WithWeights(weights="own.pt", artifact=["a.onnx", Path("b.onnx")])
    assert found.weights == Path("own.pt")
    assert found.artifact == (Path("a.onnx"), Path("b.onnx"))


def test_one_text_or_a_list_stands_for_several_words():
    assert TrainOptions(augment="haze").augment == ("haze",)
    assert TrainOptions(augment="haze,noise", loggers="none").augment == ("haze", "noise")
    assert TrainOptions(augment=["haze", "noise"]).augment == ("haze", "noise")
    with pytest.raises(ConfigError, match=r"--augment is 'hase'; expected one of .*'haze'"):
        TrainOptions(augment="noise,hase")
    assert Example(source="a,b.jpg", line="0,0,1,1").source == ("a,b.jpg",)
    assert Example(source=["a.jpg"], line=["0,0,1,1"]).line == ("0,0,1,1",)
    assert TrainOptions(augment="haze,", loggers="").augment == ("haze",)
    assert Example(source=Path("a,b.jpg"), imgsz=None).source == ("a,b.jpg",)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.words)
def test_what_is_of_no_type_of_an_option_is_named_with_every_option(verb):
    options = resolve(verb.options)
    given = [field for field in fields(options) if not field.metadata["joined_by"]]
    with pytest.raises(ConfigError) as raised:
        options(**{field.name: object() for field in given})
    for field in given:
        assert f"{flag_of(field.name)} is <object" in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 1.5}, "--epochs is 1.5; expected a whole number, 1 or more"),
        ({"epochs": True}, "--epochs is True; expected a whole number"),
        ({"batch": "4"}, "--batch is '4'; expected a number"),
        ({"pretrained": False}, "--pretrained is False; expected text"),
        ({"mask_ignored": "false"}, "--mask-ignored is 'false'; expected True or False"),
        ({"settings": ["lr0=0.01"]}, "expected settings by name, as in {'lr0': 0.01}"),
        ({"train_tiles": (640,)}, "--train-tiles is '640'; expected off or WIDTHxHEIGHT"),
        ({"augment": 3}, "--augment is 3; expected one of motion_blur"),
        ({"seed": None, "data": None}, "--data is None; expected text; --seed is None; expected"),
    ],
)
def test_a_wrong_type_is_named_before_training(wrong, message):
    with pytest.raises(ConfigError) as raised:
        TrainOptions(**wrong)
    assert message in str(raised.value)


def test_python_code_gives_numbers_lists_and_paths_as_it_has_them():
    found = TrainOptions(
        model=Path("own.yaml"),
        data=Path("data.yaml"),
        settings={"lr0": 0.01, "cos_lr": True, "freeze": [0, 1]},
        train_tiles=(640, np.int64(512)),
        epochs=np.int32(3),
        batch=8.0,
        nwd=np.float32(0.5),
        mask_ignored=np.bool_(0),
        device=[0, 1],
        resume=True,
        project="runs",
    )
    assert (found.model, found.data, found.device) == ("own.yaml", "data.yaml", "0,1")
    assert found.settings == {"lr0": "0.01", "cos_lr": "True", "freeze": "[0, 1]"}
    assert (found.tile_wh, found.epochs, found.batch, found.nwd) == ((640, 512), 3, 8.0, 0.5)
    assert {type(value) for value in (found.epochs, found.mask_ignored)} == {int, bool}
    assert (found.mask_ignored, found.resume, found.project) == (False, LATEST, Path("runs"))
    assert Example(source=["a"], imgsz=np.array([64, 96])).imgsz == (64, 96)


def test_a_report_that_is_a_folder_is_refused_before_any_work(tmp_path):
    for options, words in (
        (ExportOptions, {"weights": "w.pt"}),
        (VerifyOptions, {"weights": "w.pt", "artifact": "w.onnx"}),
    ):
        with pytest.raises(ConfigError, match=r"--report is .* which is a folder; expected a file"):
            options(**words, report=tmp_path)


@pytest.mark.parametrize("kind", [TrainOptions, DemoOptions])
def test_a_seed_that_numpy_does_not_take_is_refused(kind: type[Options]) -> None:
    assert kind(seed=MOST_SEED).seed == MOST_SEED
    np.random.RandomState(MOST_SEED + 50_000)  # in the process of such a number
    with pytest.raises(ConfigError, match="--seed is 4294967295; expected"):
        kind(seed=2**32 - 1)
