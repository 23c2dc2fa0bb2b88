"""The record of each run of a study: a small JSON file, complete at any moment, without paths of
the machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from yolo_ema.engine.data.split_facts import is_same_split
from yolo_ema.errors import DataError, did_you_mean
from yolo_ema.io.atomic_files import read_json
from yolo_ema.studies.record_format import record_problems
from yolo_ema.studies.spec import Arm, Setting, Study


@dataclasses.dataclass(frozen=True)
class Records:
    """What is known of a study.

    Attributes:
        study: the study.
        runs: arm and seed → record, of the runs that have one.
    """

    study: Study
    runs: Mapping[tuple[str, int], Mapping[str, Any]]

    @classmethod
    def read(cls, study: Study, folder: Path) -> Records:
        """Read a study's records, and those of other studies, in folders beside it, that stand for
        runs of this one.

        A run of equal settings and seed that another study has made and measured is not made again.

        Raises:
            DataError: a file is not a record, or was made under other settings, on other data or
                from other first weights than the rest.
        """
        wanted = {
            record_path(folder, arm.name, seed): (arm, seed)
            for arm in study.arms
            for seed in study.seeds
        }
        runs: dict[tuple[str, int], Mapping[str, Any]] = {}
        for path, (arm, seed) in wanted.items():
            if path.is_file():
                runs[arm.name, seed] = read_record(path, study, arm, seed)
        names = [path.name for path in wanted]
        # A name with a dot in front is being written, or was left by a process that was killed.
        for path in sorted(folder.glob("[!.]*.json")):
            if path not in wanted:
                raise DataError(
                    f"{path} belongs to no run of the study {study.name} (arms "
                    f"{', '.join(arm.name for arm in study.arms)}, seeds "
                    f"{', '.join(map(str, study.seeds))}){did_you_mean(path.name, names)}; move it "
                    f"elsewhere"
                )
        _check_alike(runs, folder)
        for arm, seed in wanted.values():
            if (arm.name, seed) not in runs:
                record = _from_elsewhere(cls(study, runs), arm, seed, folder)
                runs |= {(arm.name, seed): record} if record else {}
        return cls(study, runs)

    def missing(self, arm: str, seed: int) -> tuple[Setting, ...]:
        """Return what the run still has to be measured at: everything if it has no record."""
        record = self.runs.get((arm, seed))
        known = record["evaluations"] if record else {}
        return tuple(
            at
            for at in self.study.evaluations
            if known.get(at.key, {}).get("settings") != at.model_dump()
        )

    def is_done(self, arm: str, seed: int) -> bool:
        """Say whether the run is trained and measured."""
        return (arm, seed) in self.runs and not self.missing(arm, seed)

    def evaluation(self, arm: str, seed: int, at: Setting) -> Mapping[str, Any] | None:
        """Return a run's figures at a setting; None if it is not measured there yet."""
        if (arm, seed) not in self.runs or at in self.missing(arm, seed):
            return None
        evaluation: Mapping[str, Any] = self.runs[arm, seed]["evaluations"][at.key]
        return evaluation

    def require_data(self, data: Mapping[str, Any], pretrained_sha256: str | None) -> None:
        """Raise `DataError` if the records were made on other data, or from other first weights,
        than those at hand.
        """
        for (arm, seed), record in self.runs.items():
            _require_equal(
                record,
                {"data": data, "pretrained": {"sha256": pretrained_sha256}},
                f"{arm}, seed {seed}",
                "what is on this machine",
            )


def _from_elsewhere(records: Records, arm: Arm, seed: int, folder: Path) -> dict[str, Any] | None:
    """Return another study's record of a run of equal settings, seed, data and first weights,
    measured at all of this study's settings.
    """
    study = records.study
    digest = study.settings_sha256(arm)
    for path in sorted(folder.parent.glob(f"*/[!.]*-seed{seed}.json")):
        content = read_json(path) if path.parent != folder else None
        if (
            not isinstance(content, dict)
            or content.get("settings_sha256") != digest
            or content.get("seed") != seed
        ):
            continue
        record = _require_record(content, path)
        if (
            Records(study, {(arm.name, seed): record}).is_done(arm.name, seed)
            and study.starts_alike(arm, record["baseline_model_sha256"])
            and all(_differing(record, other) is None for other in records.runs.values())
        ):
            return record
    return None


def run_id(arm: str, seed: int) -> str:
    """Return the name of a run's record and of what lies beside its training."""
    return f"{arm}-seed{seed}"


def record_path(folder: Path, arm: str, seed: int) -> Path:
    """Return the path of a run's record."""
    return folder / f"{run_id(arm, seed)}.json"


def read_record(path: Path, study: Study, arm: Arm, seed: int) -> dict[str, Any]:
    """Read a run's record.

    Raises:
        DataError: it is not a record, or was made under other settings, which the message names.
    """
    record = _require_record(read_json(path), path)
    found, expected = (record["study"], record["arm"], record["seed"]), (study.name, arm.name, seed)
    if found != expected:
        raise DataError(
            f"{path} holds the run {found[1]}:{found[2]} of {found[0]}; expected {arm.name}:{seed} "
            f"of {study.name}"
        )
    if record["settings_sha256"] != study.settings_sha256(arm):
        differing = (
            ", ".join(_differences(record["settings"], study.settings(arm)))
            or "its digest alone, so the file was edited"
        )
        raise DataError(
            f"{path} was made under other settings than {study.path} has: {differing}. Records of "
            f"different settings don't mix: undo the change, give the study another name, or move "
            f"the record away to make its run again"
        )
    if not study.starts_alike(arm, record["baseline_model_sha256"]):
        raise DataError(
            f"{path} was made beside another baseline than {study.baseline}, whose new values its "
            f"run started with; name that baseline again, give the study another name, or move the "
            f"record away to make its run again"
        )
    return record


def _require_record(content: Any, path: Path) -> dict[str, Any]:
    if problems := record_problems(content):
        raise DataError(
            f"{path} is not a study's record: {'; '.join(problems)}. Restore it, or remove it to "
            f"make its run again"
        )
    return dict(content)


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], place: str = ""
) -> Iterable[str]:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{place}{key}.")
        elif old != new:
            yield f"{place}{key} was {old!r} and is {new!r}"


def _check_alike(runs: Mapping[tuple[str, int], Mapping[str, Any]], folder: Path) -> None:
    """Raise `DataError` if two records were made on different data or first weights."""
    items = list(runs.items())
    for (arm, seed), record in items[1:]:
        (first_arm, first_seed), first = items[0]
        _require_equal(
            record,
            first,
            f"{record_path(folder, arm, seed)}",
            f"{record_path(folder, first_arm, first_seed)}",
        )


def _require_equal(
    record: Mapping[str, Any], other: Mapping[str, Any], name: str, other_name: str
) -> None:
    if differing := _differing(record, other):
        raise DataError(f"{name} and {other_name} cannot be compared: {differing}")


def _differing(record: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Say how the data or first weights of two records differ; None if they are the same."""
    for key in ("names", "train", "val", "test"):
        mine, theirs = record["data"].get(key), other["data"].get(key)
        are_splits = isinstance(mine, Mapping) and isinstance(theirs, Mapping)
        if not (is_same_split(mine, theirs) if are_splits else mine == theirs):
            return f"their data differ, {key} {mine} and {theirs}"
    mine, theirs = record["pretrained"]["sha256"], other["pretrained"]["sha256"]
    return None if mine == theirs else f"their first weights differ, SHA-256 {mine} and {theirs}"


def data_facts(name: str, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says about its data: name, classes, and each split's number of images
    and SHA-256.
    """
    return {"name": name, "names": list(fingerprint["names"]), **fingerprint["splits"]}
