"""Reads a study's file as a whole, and names everything that is wrong with it at once."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pydantic

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.io.yaml_files import YamlFileError, read_yaml
from yolo_ema.options.shared import MOST_SEED
from yolo_ema.studies import classify_arms, detect_arms
from yolo_ema.studies.record_format import FIGURE_NAMES
from yolo_ema.studies.spec import (
    SPLITS,
    Arm,
    Budget,
    Checked,
    ClassifyEvaluation,
    Evaluation,
    Published,
    Study,
    Task,
    Text,
)
from yolo_ema.studies.spec_checks import checked, shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class _StudyFile(Checked):
    """A study's file; what ``train`` and ``arms`` hold is checked setting by setting."""

    name: str = pydantic.Field(
        pattern=rf"^{_NAME.pattern}$",
        description="letters, digits, . _ and -, as in a file name",
    )
    task: Task = pydantic.Field("detect", description=" or ".join(typing.get_args(Task)))
    question: Text
    data: Text
    split: Literal[SPLITS] = pydantic.Field(  # type: ignore[valid-type]
        "val", description=f"one of {', '.join(SPLITS)}"
    )
    records: Text = "records"
    seeds: Annotated[
        list[Annotated[int, pydantic.Field(ge=0, le=MOST_SEED)]], pydantic.Field(min_length=1)
    ] = pydantic.Field(
        description=f"different whole numbers from 0 to {MOST_SEED}, as in [0, 1, 2]"
    )
    budget: dict[str, Any] = pydantic.Field(
        description="epochs or seconds, as in {epochs: 20} or, by arm, "
        "{epochs: {none: 20, ema: 18}}"
    )
    pretrained: Text
    train: dict[Any, Any] = pydantic.Field(
        description="settings, as in {model: yolo11n, imgsz: 416}"
    )
    arms: dict[Any, Any] = pydantic.Field(
        min_length=1,
        description="names, each with what it changes, as in {none: {}, ema: {model: yolo11n-ema}}",
    )
    baseline: Text
    candidate: Text | None = pydantic.Field(
        None, description="the name of an arm, to compare with every other one"
    )
    evaluate: dict[str, Any] | None = pydantic.Field(
        None,
        description="settings of val, as in {imgsz: [416, 640], tile: [off, auto]}",
    )
    primary: str | None = pydantic.Field(None, description="a figure's name")
    published: dict[str, Any] | None = pydantic.Field(
        None,
        description="source, budget and figures of others, as in {source: …, budget: …, "
        "figures: {none: '77.26'}}",
    )

    @pydantic.field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("equal seeds")
        return seeds


def read_study(path: Path) -> Study:
    """Read and check a study's YAML.

    Raises:
        ConfigError: the file is missing, is not YAML, or has wrong entries; all of them are named.
    """
    content = _content(path)
    problems: list[str] = []
    file = checked(_StudyFile, content, "", problems)
    is_detector = content.get("task", "detect") != "classify"
    arms = _arms(
        content, path.absolute().parent, problems, detect_arms if is_detector else classify_arms
    )
    split = content.get("split")
    names = [arm.name for arm in arms]
    for key in ("baseline", "candidate"):
        value = content.get(key)
        if arms and isinstance(value, str) and value not in names:
            problems.append(f"{key} is {value!r}, which is not an arm{did_you_mean(value, names)}")
    if file and file.candidate == file.baseline:
        problems.append(f"candidate is {file.candidate!r}, which is the baseline already")
    split = split if split in SPLITS else "val"
    evaluations = (
        _evaluations(content, split, problems)
        if is_detector
        else _classify_evaluations(content, split, arms, problems)
    )
    figures = FIGURE_NAMES["detect" if is_detector else "classify"]
    primary = content.get("primary", figures[0])
    if primary not in figures:
        problems.append(f"primary is {shown(primary)}; expected one of {', '.join(figures)}")
    published = _published(content.get("published"), names, problems)
    if problems or file is None:
        raise ConfigError(f"{path}: {'; '.join(problems)}")
    return Study(
        path=path,
        seeds=tuple(file.seeds),
        arms=arms,
        evaluations=evaluations,
        primary=primary,
        published=published,
        **file.model_dump(
            include={
                *("name", "task", "question", "data", "split", "records", "pretrained"),
                *("baseline", "candidate"),
            }
        ),
    )


def _content(path: Path) -> dict[Any, Any]:
    if not path.is_file():
        there = [file.name for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError(f"there is no study at {path}{did_you_mean(path.name, there)}")
    try:
        content = read_yaml(path)
    except YamlFileError as error:
        raise ConfigError(f"{path} {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds {type(content).__name__}; expected a study's entries: "
            f"{', '.join(_StudyFile.model_fields)}"
        )
    return content


def _arms(
    content: Mapping[Any, Any], folder: Path, problems: list[str], kind: ModuleType
) -> tuple[Arm, ...]:
    """Return the arms, of detectors or classifiers by ``kind``; those of which something is wrong
    are left out and named.
    """
    base, given = content.get("train"), content.get("arms")
    if not isinstance(base, dict) or not isinstance(given, dict):
        return ()
    budgets = _budgets(content.get("budget"), list(given), problems)
    wrong_base = list(kind.setting_problems(base, "train: "))
    problems += wrong_base
    arms = []
    for name, changed in given.items():
        changed = {} if changed is None else changed
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(
                f"the arm's name {shown(name)} is not text of letters, digits, . _ and - (YAML "
                f"needs quotes around some words)"
            )
        elif not isinstance(changed, dict):
            problems.append(
                f"the arm {name!r} is {shown(changed)}; expected what it changes, as in {{model: "
                f"yolo11n-ema}}, or {{}}"
            )
        elif wrong := list(kind.setting_problems(changed, f"the arm {name!r}: ")):
            problems += wrong
        elif not wrong_base:
            arm = kind.read_arm(
                name, {**base, **changed}, changed, folder, problems, budget=budgets[name]
            )
            arms += [arm] if arm else []
    return tuple(arms)


def _budgets(value: Any, arms: Sequence[Any], problems: list[str]) -> dict[Any, Budget]:
    """Return each arm's budget: the same for all, or epochs by arm."""
    nothing = dict.fromkeys(arms, Budget(epochs=1))
    if not isinstance(value, dict):
        return nothing
    if ("epochs" in value) == ("seconds" in value):
        expected = _StudyFile.model_fields["budget"].description
        problems.append(f"budget is {shown(value)}; expected either {expected}")
        return nothing
    by_arm = value.get("epochs")
    if not isinstance(by_arm, dict):
        budget = checked(Budget, value, "budget: ", problems)
        return dict.fromkeys(arms, budget) if budget else nothing
    if missing := [name for name in arms if name not in by_arm]:
        problems.append(f"budget's epochs lacks the arm {', '.join(map(repr, missing))}")
    problems += [
        f"budget's epochs has {name!r}, which is not an arm"
        f"{did_you_mean(str(name), list(map(str, arms)))}"
        for name in by_arm
        if name not in arms
    ]
    given = {arm: {**value, "epochs": by_arm.get(arm, 1)} for arm in arms}
    return {
        arm: checked(Budget, values, "budget: ", problems) or nothing[arm]
        for arm, values in given.items()
    }


def _evaluations(
    content: Mapping[Any, Any], split: str, problems: list[str]
) -> tuple[Evaluation, ...]:
    """Return every input size with every kind of tiles; without an entry, the trained size."""
    value, train = content.get("evaluate"), content.get("train")
    value = {} if value is None else value
    if not isinstance(value, dict):
        return ()
    if "split" in value:
        problems.append("evaluate: 'split' is the same for all settings and belongs to the study")
    trained = train.get("imgsz", 640) if isinstance(train, dict) else 640
    sizes, tiles = (
        given if isinstance(given, list) else [given]
        for given in (value.get("imgsz", trained), value.get("tile", "off"))
    )
    if not sizes or not tiles:
        problems.append("evaluate lists no input size or no kind of tiles; leave the entry out")
    made = []
    for tile in tiles:
        for size in sizes:
            tile = "off" if tile is False else tile  # what YAML makes of a bare off
            entries = {**value, "imgsz": size, "tile": tile, "split": split}
            evaluation = checked(Evaluation, entries, "evaluate: ", problems)
            if evaluation is None:
                continue
            try:
                evaluation.options(Path("weights.pt"), "data", "cpu")
            except ConfigError as error:
                problems.append(f"evaluate: {error}")
            made.append(evaluation)
    if len({evaluation.key for evaluation in made}) < len(made):
        problems.append("evaluate names a size or a kind of tiles twice")
    return tuple(made)


def _classify_evaluations(
    content: Mapping[Any, Any], split: str, arms: Sequence[Arm], problems: list[str]
) -> tuple[ClassifyEvaluation, ...]:
    """Return the one setting that classifiers are measured at."""
    if content.get("evaluate") is not None:
        problems.append(
            "evaluate is given; classifiers are measured at the size that they are trained with"
        )
    if split == "test":
        problems.append(
            "split is 'test'; expected train or val: a class folder's test stands in for val where "
            "there is none"
        )
    if content.get("pretrained", "none") != "none":
        problems.append(
            f"pretrained is {shown(content['pretrained'])}; expected none: classifiers start from "
            f"random values"
        )
    size = arms[0].train["recipe"]["imgsz"] if arms else 32
    return (ClassifyEvaluation(imgsz=size, split=split),)


def _published(value: Any, arms: Sequence[str], problems: list[str]) -> Published | None:
    """Return the figures of others; None without any."""
    if not isinstance(value, dict):
        return None
    published = checked(Published, value, "published: ", problems)
    figures = published.figures if published else {}
    problems += [
        f"published: figures has {name!r}, which is not an arm{did_you_mean(name, arms)}"
        for name in figures
        if arms and name not in arms
    ]
    return published
