"""Reads the file that says what a study is, as a whole: everything that is wrong with it is named
at once.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from yolo_ema.engine.models.definition import find_definition
from yolo_ema.engine.setup.ultralytics_settings import parse_settings, training_settings
from yolo_ema.errors import ConfigError, ModelError, did_you_mean
from yolo_ema.options.train import TrainOptions
from yolo_ema.options.val import ValOptions
from yolo_ema.studies.measures import PRIMARY, PRIMARY_NAMES
from yolo_ema.studies.spec import (
    FIXED,
    FLAGS,
    Arm,
    Budget,
    Evaluation,
    Study,
    content_sha256,
    split_settings,
)

__all__ = ["read_study"]

_KEYS = (
    "name",
    "question",
    "data",
    "split",
    "seeds",
    "budget",
    "pretrained",
    "train",
    "arms",
    "baseline",
    "evaluate",
    "primary",
)
_OPTIONAL = ("split", "primary", "evaluate")
_BUDGET_KEYS = ("epochs", "seconds", "clock")
_CLOCKS = ("process", "wall")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_WHERE = {
    "seed": "seeds",
    "seeds": "seeds",
    "epochs": "budget",
    "time": "budget",
    "pretrained": "pretrained",
    "data": "data",
    "split": "split",
}
_STUDYS_OWN = (
    "project",
    "name",
    "resume",
    "offline",
    "trust",
    "loggers",
    "settings",
    "preset",
    "device",
    "workers",
    "exist_ok",
)
_SPLITS = ("train", "val", "test")
_MOST_SEED = 2**32 - 1  # what numpy's generators take
_EVALUATION_KEYS = ("imgsz", "tile", "overlap", "whole_frame", "merge", "conf", "iou", "max_det")


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML's usual reader would silently take the
    last.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a dictionary; see the class."""
        self.flatten_mapping(node)  # "<<" takes over another's entries
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigError(f"line {node.start_mark.line + 1}: {key!r} is given twice")
        return super().construct_mapping(node, deep)


def read_study(path: Path) -> Study:
    """Read and check a study's YAML.

    Raises:
        ConfigError: the file is not there, is no YAML, or says something wrong; every problem is
            named.
    """
    content = _content(path)
    problems = [
        f"there is no entry {key!r}{did_you_mean(str(key), _KEYS)}"
        for key in content
        if key not in _KEYS
    ]
    problems += [
        f"{key!r} is missing" for key in _KEYS if key not in content and key not in _OPTIONAL
    ]
    values: dict[str, Any] = {
        "name": _text(content, "name", problems, pattern=_NAME),
        "question": _text(content, "question", problems),
        "data": _text(content, "data", problems),
        "split": _text(content, "split", problems, default="val"),
        "seeds": _seeds(content.get("seeds", [0]), problems),
        "pretrained": _text(content, "pretrained", problems),
        "primary": _text(content, "primary", problems, default=PRIMARY),
    }
    if values["primary"] not in PRIMARY_NAMES:
        problems.append(
            f"primary is {values['primary']!r}; expected one of {', '.join(PRIMARY_NAMES)}"
        )
    if values["split"] not in _SPLITS:
        problems.append(f"split is {values['split']!r}; expected one of {', '.join(_SPLITS)}")
    arms = _arms(content, path.absolute().parent, problems)
    baseline = _text(content, "baseline", problems)
    if arms and baseline and baseline not in (names := [arm.name for arm in arms]):
        problems.append(f"baseline is {baseline!r}, which is no arm{did_you_mean(baseline, names)}")
    evaluations = _evaluations(
        content.get("evaluate"), content.get("train"), values["split"], problems
    )
    if problems:
        raise ConfigError(f"{path}: {'; '.join(problems)}")
    return Study(path=path, arms=arms, baseline=baseline, evaluations=evaluations, **values)


def _content(path: Path) -> dict[Any, Any]:
    if not path.is_file():
        there = [one.name for one in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError(f"there is no study at {path}{did_you_mean(path.name, there)}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506 - derived from SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds {type(content).__name__}; expected a study's entries: {', '.join(_KEYS)}"
        )
    return content


def _text(
    content: Mapping[Any, Any],
    key: str,
    problems: list[str],
    *,
    default: str = "",
    pattern: re.Pattern[str] | None = None,
) -> str:
    value = content.get(key, default)
    if key in content and (not isinstance(value, str) or not value.strip()):
        problems.append(
            f"{key} is {value!r}; expected text (in quotes where YAML reads another thing)"
        )
        return default
    if key in content and pattern and not pattern.fullmatch(value):
        problems.append(
            f"{key} is {value!r}; expected letters, digits, . _ and -, as a file name has them"
        )
    return " ".join(value.split())


def _seeds(value: Any, problems: list[str]) -> tuple[int, ...]:
    fit = (
        isinstance(value, list)
        and bool(value)
        and all(_is_count(one, 0) and one <= _MOST_SEED for one in value)
    )
    if not fit or len(set(value)) < len(value):
        problems.append(
            f"seeds is {value!r}; expected different whole numbers from 0 to {_MOST_SEED}, as in "
            f"[0, 1, 2]"
        )
        return (0,)
    return tuple(value)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -math.inf < value < math.inf
    )


def _budget(value: Any, problems: list[str]) -> Budget:
    if not isinstance(value, dict) or ("epochs" in value) == ("seconds" in value):
        example = "{epochs: 20} or, by arm, {epochs: {none: 20, ema: 18}}"
        problems.append(f"budget is {value!r}; expected either epochs or seconds, as in {example}")
        return Budget(1)
    problems += [
        f"budget has {key!r}{did_you_mean(str(key), _BUDGET_KEYS)}"
        for key in value
        if key not in _BUDGET_KEYS
    ]
    clock = value.get("clock", "process")
    if clock not in _CLOCKS:
        problems.append(f"budget's clock is {clock!r}; expected {' or '.join(_CLOCKS)}")
    if "epochs" in value:
        if not _is_count(value["epochs"], 1):
            problems.append(
                f"budget's epochs is {value['epochs']!r}; expected a whole number from 1"
            )
        return Budget(value["epochs"])
    if not _is_number(value["seconds"]) or value["seconds"] <= 0:
        problems.append(f"budget's seconds is {value['seconds']!r}; expected a number above 0")
    return Budget(None, value["seconds"], clock)


def _budgets(value: Any, arms: Sequence[Any], problems: list[str]) -> dict[Any, Budget]:
    """Return each arm's budget: the same for all, or epochs by arm."""
    by_arm = value.get("epochs") if isinstance(value, dict) else None
    if not isinstance(by_arm, dict):
        return dict.fromkeys(arms, _budget(value, problems))
    names = [str(arm) for arm in arms]
    if missing := [name for name in arms if name not in by_arm]:
        problems.append(f"budget's epochs lacks the arm {', '.join(map(repr, missing))}")
    unknown = [name for name in by_arm if name not in arms]
    problems += [
        f"budget's epochs has {name!r}, which is no arm{did_you_mean(str(name), names)}"
        for name in unknown
    ]
    found: list[str] = []
    budgets = {arm: _budget({**value, "epochs": by_arm.get(arm, 1)}, found) for arm in arms}
    problems += dict.fromkeys(found)  # what is wrong for all arms is named once
    return budgets


def _arms(content: Mapping[Any, Any], folder: Path, problems: list[str]) -> tuple[Arm, ...]:
    base, given = content.get("train", {}), content.get("arms", {})
    budgets = _budgets(
        content.get("budget", {"epochs": 1}),
        list(given) if isinstance(given, dict) else [],
        problems,
    )
    if not isinstance(base, dict):
        problems.append(
            f"train is {base!r}; expected settings, as in {{model: yolo11n, imgsz: 416}}"
        )
        return ()
    if not isinstance(given, dict) or not given:
        problems.append(
            f"arms is {given!r}; expected names, each with what it changes, as in {{none: {{}}, "
            f"ema: {{model: yolo11n-ema}}}}"
        )
        return ()
    found = [f"train: {problem}" for problem in _setting_problems(base)]
    arms = []
    for name, changed in given.items():
        changed = {} if changed is None else changed
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            found.append(
                f"the arm's name {name!r} is not text of letters, digits, . _ and - (YAML needs "
                f"quotes around some words)"
            )
        elif not isinstance(changed, dict):
            found.append(
                f"the arm {name!r} is {changed!r}; expected what it changes, as in {{model: "
                f"yolo11n-ema}}, or {{}}"
            )
        else:
            own = [f"the arm {name!r}: {problem}" for problem in _setting_problems(changed)]
            if not own and not found:
                arms.append(
                    _arm(name, {**base, **changed}, changed, folder, own, budget=budgets[name])
                )
            found += own
    problems += found
    return tuple(arm for arm in arms if arm)


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
        problems.append(
            f"the arm {name!r}: {', '.join(missing)} is given neither there nor in train"
        )
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
    except ModelError as error:
        problems.append(f"the arm {name!r}: {error}")
        return None
    digest = content_sha256(yaml.safe_load(definition.path.read_text(encoding="utf-8")))
    return Arm(name, train, changed, model, digest, budget)


def _setting_problems(settings: Mapping[Any, Any]) -> Iterable[str]:
    known = [*FLAGS, *training_settings()]
    hints = typing.get_type_hints(TrainOptions)
    for key, value in settings.items():
        if key in _WHERE:
            yield f"{key!r} is the same for all arms and belongs to the study's {_WHERE[key]}"
        elif key in FIXED or key in _STUDYS_OWN:
            yield f"{key!r} is chosen by the study itself"
        elif key not in known:
            yield f"there is no training setting {key!r}{did_you_mean(str(key), known)}"
        elif key in FLAGS and not _is_of(hints[key], value):
            yield f"{key} is {value!r}; expected {_kind(hints[key])}"
        elif key not in FLAGS and not isinstance(value, str | int | float | bool):
            yield f"{key} is {value!r}; expected a number, a word, true or false"


def _is_of(hint: Any, value: Any) -> bool:
    kinds = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    kind = next(one for one in kinds if one is not type(None))
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return _is_count(value, -1)
    return _is_number(value) if kind is float else isinstance(value, str)


def _kind(hint: Any) -> str:
    text = str(hint)
    for word, meaning in (
        ("tuple", "a list of words"),
        ("bool", "true or false"),
        ("int", "a whole number"),
        ("float", "a number"),
    ):
        if word in text:
            return meaning
    return "text (in quotes where YAML reads another thing)"


def _evaluations(value: Any, train: Any, split: str, problems: list[str]) -> tuple[Evaluation, ...]:
    """Return every input size with every kind of tiles; without an entry the size that was trained
    on.
    """
    value = {} if value is None else value
    if not isinstance(value, dict):
        problems.append(
            f"evaluate is {value!r}; expected settings of val, as in {{imgsz: [416, 640], tile: "
            f"[off, auto]}}"
        )
        return ()
    problems += [
        f"evaluate has {key!r}{did_you_mean(str(key), _EVALUATION_KEYS)}"
        for key in value
        if key not in _EVALUATION_KEYS
    ]
    trained = train.get("imgsz", 640) if isinstance(train, dict) else 640
    sizes, tiles = _listed(value.get("imgsz", trained)), _listed(value.get("tile", "off"))
    tiles = ["off" if tile is False else tile for tile in tiles]  # what YAML makes of a bare off
    rest = {
        key: one
        for key, one in value.items()
        if key in _EVALUATION_KEYS and key not in {"imgsz", "tile"}
    }
    wrong = [size for size in sizes if not _is_count(size, 32)]
    if wrong or not sizes or not tiles or not all(isinstance(tile, str) for tile in tiles):
        problems.append(
            f"evaluate has imgsz {sizes} and tile {tiles}; expected whole numbers from 32, and "
            f"off, auto or WIDTHxHEIGHT"
        )
        return ()
    hints = typing.get_type_hints(ValOptions)
    mistyped = [
        f"evaluate's {key} is {one!r}; expected {_kind(hints[key])}"
        for key, one in rest.items()
        if not _is_of(hints[key], one)
    ]
    if mistyped:
        problems += mistyped
        return ()
    made = tuple(Evaluation(size, tile, split, **rest) for tile in tiles for size in sizes)
    problems += [f"evaluate: {problem}" for one in made if (problem := _evaluation_problem(one))]
    if len({one.key for one in made}) < len(made):
        problems.append("evaluate names a size or a kind of tiles twice")
    return made


def _evaluation_problem(one: Evaluation) -> str:
    try:
        one.options(Path("weights.pt"), "data", "cpu")
    except ConfigError as error:
        return str(error)
    return ""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
