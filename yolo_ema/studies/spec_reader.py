"""Reads a study's file as a whole, and names everything that is wrong with it at once."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic

from yolo_ema.engine.models.definition import find_definition
from yolo_ema.engine.setup.ultralytics_settings import parse_settings, training_settings
from yolo_ema.errors import ConfigError, ModelError, did_you_mean
from yolo_ema.io.yaml_files import YamlFileError, read_yaml
from yolo_ema.options.train import TrainOptions
from yolo_ema.studies.record_format import PRIMARY, PRIMARY_NAMES
from yolo_ema.studies.spec import (
    FIXED,
    FLAGS,
    SPLITS,
    Arm,
    Budget,
    Checked,
    Evaluation,
    Study,
    Text,
    content_sha256,
    split_settings,
)

__all__ = ["read_study"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MOST_SEED = 2**32 - 1  # what numpy's generators take
_ELSEWHERE = {
    "seed": "seeds",
    "seeds": "seeds",
    "epochs": "budget",
    "time": "budget",
    "pretrained": "pretrained",
    "data": "data",
    "split": "split",
}
_STUDYS_OWN = {
    *FIXED,
    *("project", "name", "resume", "offline", "trust", "loggers", "settings", "preset"),
    *("device", "workers", "exist_ok"),
}
_KINDS = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (Annotated[float, pydantic.Field(allow_inf_nan=False)], "a number"),
    str: (str, "text, in quotes where YAML reads something else"),
    tuple: (list[str], "a list of words"),
}
"""For the type of an option of ``train``: what its value in the file must be, and how to say so."""


class _StudyFile(Checked):
    """A study's file; what ``train`` and ``arms`` hold is checked setting by setting."""

    name: str = pydantic.Field(
        pattern=rf"^{_NAME.pattern}$",
        description="letters, digits, . _ and -, as in a file name",
    )
    question: Text
    data: Text
    split: Literal[SPLITS] = pydantic.Field(  # type: ignore[valid-type]
        "val", description=f"one of {', '.join(SPLITS)}"
    )
    seeds: Annotated[
        list[Annotated[int, pydantic.Field(ge=0, le=_MOST_SEED)]], pydantic.Field(min_length=1)
    ] = pydantic.Field(
        description=f"different whole numbers from 0 to {_MOST_SEED}, as in [0, 1, 2]"
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
    evaluate: dict[str, Any] | None = pydantic.Field(
        None,
        description="settings of val, as in {imgsz: [416, 640], tile: [off, auto]}",
    )
    primary: Literal[PRIMARY_NAMES] = pydantic.Field(  # type: ignore[valid-type]
        PRIMARY, description=f"one of {', '.join(PRIMARY_NAMES)}"
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
    file = _checked(_StudyFile, content, "", problems)
    arms = _arms(content, path.absolute().parent, problems)
    baseline, split = content.get("baseline"), content.get("split")
    names = [arm.name for arm in arms]
    if arms and isinstance(baseline, str) and baseline not in names:
        hint = did_you_mean(baseline, names)
        problems.append(f"baseline is {baseline!r}, which is not an arm{hint}")
    evaluations = _evaluations(content, split if split in SPLITS else "val", problems)
    if problems or file is None:
        raise ConfigError(f"{path}: {'; '.join(problems)}")
    return Study(
        path=path,
        seeds=tuple(file.seeds),
        arms=arms,
        evaluations=evaluations,
        **file.model_dump(exclude={"seeds", "budget", "train", "arms", "evaluate"}),
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


_Model = TypeVar("_Model", bound=pydantic.BaseModel)


def _checked(
    model: type[_Model],
    values: Mapping[Any, Any],
    where: str,
    problems: list[str],
    *,
    noun: str = "entry",
) -> _Model | None:
    """Return ``values`` as a model; None where something is wrong, which ``problems`` then names.

    Args:
        model: the model.
        values: what the file holds.
        where: the place in the file, as the message begins.
        problems: each wrong value is added once.
        noun: what a key is called.
    """
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False):
            key = fault["loc"][0]
            if fault["type"] == "missing":
                text = f"{key!r} is missing"
            elif key not in model.model_fields:
                hint = did_you_mean(str(key), model.model_fields)
                text = f"there is no {noun} {key!r}{hint}"
            else:
                expected = model.model_fields[str(key)].description
                text = f"{key} is {_shown(values[key])}; expected {expected}"
            if where + text not in problems:
                problems.append(where + text)
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _arms(content: Mapping[Any, Any], folder: Path, problems: list[str]) -> tuple[Arm, ...]:
    """Return the arms; those of which something is wrong are left out and named."""
    base, given = content.get("train"), content.get("arms")
    if not isinstance(base, dict) or not isinstance(given, dict):
        return ()
    budgets = _budgets(content.get("budget"), list(given), problems)
    wrong_base = list(_setting_problems(base, "train: "))
    problems += wrong_base
    arms = []
    for name, changed in given.items():
        changed = {} if changed is None else changed
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(
                f"the arm's name {_shown(name)} is not text of letters, digits, . _ and - (YAML "
                f"needs quotes around some words)"
            )
        elif not isinstance(changed, dict):
            problems.append(
                f"the arm {name!r} is {_shown(changed)}; expected what it changes, as in {{model: "
                f"yolo11n-ema}}, or {{}}"
            )
        elif wrong := list(_setting_problems(changed, f"the arm {name!r}: ")):
            problems += wrong
        elif not wrong_base:
            arm = _arm(name, {**base, **changed}, changed, folder, problems, budget=budgets[name])
            arms += [arm] if arm else []
    return tuple(arms)


def _budgets(value: Any, arms: Sequence[Any], problems: list[str]) -> dict[Any, Budget]:
    """Return each arm's budget: the same for all, or epochs by arm."""
    nothing = dict.fromkeys(arms, Budget(epochs=1))
    if not isinstance(value, dict):
        return nothing
    if ("epochs" in value) == ("seconds" in value):
        expected = _StudyFile.model_fields["budget"].description
        problems.append(f"budget is {_shown(value)}; expected either {expected}")
        return nothing
    by_arm = value.get("epochs")
    if not isinstance(by_arm, dict):
        budget = _checked(Budget, value, "budget: ", problems)
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
        arm: _checked(Budget, values, "budget: ", problems) or nothing[arm]
        for arm, values in given.items()
    }


def _arm(
    name: str,
    train: dict[str, Any],
    changed: dict[str, Any],
    folder: Path,
    problems: list[str],
    *,
    budget: Budget,
) -> Arm | None:
    missing = [key for key in ("model", "imgsz", "batch") if key not in train]
    if missing:
        problems.append(f"the arm {name!r}: neither it nor train gives {', '.join(missing)}")
        return None
    flags, settings = split_settings(train)
    try:
        TrainOptions(**flags)
        parse_settings(settings)
    except ConfigError as error:
        problems.append(f"the arm {name!r}: {error}")
    model = train["model"]
    if "/" in model:
        model = str(folder / model)
    try:
        definition = find_definition(model)
        digest = content_sha256(read_yaml(definition.path))
    except (ModelError, YamlFileError) as error:
        place = f"{definition.path} " if isinstance(error, YamlFileError) else ""
        problems.append(f"the arm {name!r}: {place}{error}")
        return None
    return Arm(name, train, changed, model, digest, budget)


def _setting_problems(settings: Mapping[Any, Any], where: str) -> Iterator[str]:
    checked = {}
    for key, value in settings.items():
        if key in _ELSEWHERE:
            place = _ELSEWHERE[key]
            yield f"{where}{key!r} is the same for all arms and belongs to the study's {place}"
        elif key in _STUDYS_OWN:
            yield f"{where}{key!r} is set by the study itself"
        else:
            checked[str(key)] = value
    problems: list[str] = []
    _checked(_train_settings(), checked, where, problems, noun="training setting")
    yield from problems


@functools.cache
def _train_settings() -> type[pydantic.BaseModel]:
    """Return the model of what ``train`` and an arm may hold."""
    fields: dict[str, Any] = {
        key: (
            str | int | float | bool,
            pydantic.Field(None, description="a number, a word, true or false"),
        )
        for key in training_settings()
        if key not in {*_ELSEWHERE, *_STUDYS_OWN}
    }
    for key, hint in typing.get_type_hints(TrainOptions).items():
        if key in FLAGS:
            kind = next(kind for kind in (*typing.get_args(hint), hint) if kind is not type(None))
            kind, expected = _KINDS[tuple if typing.get_origin(hint) is tuple else kind]
            fields[key] = (kind, pydantic.Field(None, description=expected))
    flags_first = dict(sorted(fields.items(), key=lambda item: item[0] not in FLAGS))
    return pydantic.create_model("_TrainSettings", __base__=Checked, **flags_first)


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
            evaluation = _checked(Evaluation, entries, "evaluate: ", problems)
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
