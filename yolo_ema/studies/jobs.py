"""What one run of a study does, as plain values in a file: all that its process needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from yolo_ema.engine.data.data_yaml import read_data
from yolo_ema.engine.data.dataset_lookup import resolve_data
from yolo_ema.engine.data.split_files import data_fingerprint, split_images
from yolo_ema.engine.training.setting_checks import check_data_settings
from yolo_ema.engine.weights.pretrained import resolve_pretrained
from yolo_ema.errors import ConfigError, DataError, WeightsNotFoundError
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json
from yolo_ema.options.ablate import AblateOptions
from yolo_ema.studies.classify_arms import find_classes
from yolo_ema.studies.detect_arms import check_start
from yolo_ema.studies.records import data_facts, record_path, run_id
from yolo_ema.studies.spec import Arm, Study, Task


def weights_of(folder: Path, task: Task) -> Path:
    """Return the weights that a run is measured with: those of its last epoch, so that nothing is
    chosen on the images that are measured.
    """
    return folder / "last.pt" if task == "classify" else folder / "weights" / "last.pt"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a study finds its data and first weights on this machine, and puts runs and records.

    Attributes:
        dataset: the detectors' YAML, or the classifiers' folder or name.
        data: what records say about it.
        pretrained: the first weights, or None for random ones.
        pretrained_sha256: their digest.
        runs: the folder of the study's trainings.
        records: the folder of its records.
        device: as in train.
        offline: forbid all downloads.
    """

    dataset: str
    data: dict[str, Any]
    pretrained: Path | None
    pretrained_sha256: str | None
    runs: Path
    records: Path
    device: str
    offline: bool


def find_place(study: Study, options: AblateOptions, records: Path) -> Place:
    """Find a study's data and first weights.

    Raises:
        ConfigError: an attention block does not fit a classifier, or first weights are given for
            one.
        DataError: the dataset is missing, or wrong.
        ModelError: a detector cannot be built.
        WeightsError: the first weights are missing, not a detector's, or fit an arm too little.
        OfflineError: a download would be needed, and is forbidden.
    """
    try:
        find = find_classes if study.task == "classify" else _detection_set
        dataset, fingerprint = find(study, options)
    except DataError as error:
        hint = (
            ""
            if options.data
            else f" (the study {study.name} names it; say with --data where it lies on this "
            f"machine)"
        )
        raise type(error)(f"{error}{hint}") from error
    weights = None
    if study.pretrained != "none":
        try:
            weights = resolve_pretrained(
                options.pretrained or study.pretrained, offline=options.offline
            ).absolute()
        except WeightsNotFoundError as error:
            hint = (
                ""
                if options.pretrained
                else f" (the study {study.name} names them; say with --pretrained where they lie)"
            )
            raise WeightsNotFoundError(f"{error}{hint}") from error
    if study.task == "detect":  # else each run fails when it starts
        check_start(study, weights, len(fingerprint["names"]))
    return Place(
        dataset,
        data_facts(study.data, fingerprint),
        weights,
        sha256_of(weights) if weights else None,
        options.runs.absolute() / study.name,
        records.absolute(),
        options.device,
        options.offline,
    )


def _detection_set(study: Study, options: AblateOptions) -> tuple[str, dict[str, Any]]:
    """Return a detectors' dataset and its fingerprint."""
    found = resolve_data(
        options.data or study.data, offline=options.offline, splits=("train", "val")
    ).absolute()
    # Else each run fails when it starts, or hours later, when it is measured.
    check_data_settings({"split": study.split}, read_data(found))
    split_images(found, study.split)
    return str(found), data_fingerprint(found)


@dataclasses.dataclass(frozen=True)
class Job:
    """One arm at one seed.

    Attributes:
        folder: of the training, with ``weights/`` and ``run.json``.
        record: the file that the run's record goes to.
        head: the record's first entries: study, arm, seed, settings, data, first weights.
        train: the values of `TrainOptions` or `ClassifyTrainOptions`.
        budget: `Budget`'s values.
        baseline_model: the model whose start this one's is compared with.
        evaluations: `Setting`'s values, one entry each.
        data, device: the data that is measured on, and where.
        task: of the study.
        baseline_train: the settings of a classifiers' baseline.
    """

    folder: str
    record: str
    head: dict[str, Any]
    train: dict[str, Any]
    budget: dict[str, Any]
    baseline_model: str
    evaluations: list[dict[str, Any]]
    data: str
    device: str
    task: Task = "detect"
    baseline_train: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, arm: Arm, seed: int, place: Place) -> Job:
        """Return the job of a run."""
        name, baseline = run_id(arm.name, seed), study.arm(study.baseline)
        is_detector = study.task == "detect"
        train = study.train_options(
            arm,
            seed,
            data=place.dataset,
            project=str(place.runs),
            name=name,
            device=place.device,
            offline=place.offline,
            **({"pretrained": str(place.pretrained or "none")} if is_detector else {}),
        )
        head = {
            **({} if is_detector else {"task": study.task}),
            "study": study.name,
            "arm": arm.name,
            "seed": seed,
            "settings_sha256": study.settings_sha256(arm),
            "settings": study.settings(arm),
            "data": place.data,
            "pretrained": {"name": study.pretrained, "sha256": place.pretrained_sha256},
            "baseline_model_sha256": baseline.model_sha256,
        }
        return cls(
            folder=str(place.runs / name),
            record=str(record_path(place.records, arm.name, seed)),
            head=head,
            train=train,
            budget=arm.budget.model_dump(),
            baseline_model=baseline.model,
            evaluations=[at.model_dump() for at in study.evaluations],
            data=place.dataset,
            device=place.device,
            task=study.task,
            baseline_train={} if is_detector else dict(baseline.train),
        )

    @property
    def weights(self) -> Path:
        """Return the weights that are measured, see `weights_of`."""
        return weights_of(Path(self.folder), self.task)

    @property
    def file(self) -> Path:
        """Return the job's own file, beside its training's folder, as are log, clock and lock."""
        return self.beside(".json")

    def beside(self, suffix: str) -> Path:
        """Return the file beside the run's folder that has this suffix."""
        folder = Path(self.folder)
        return folder.with_name(folder.name + suffix)

    def write(self) -> None:
        """Write the job's file.

        Raises:
            ConfigError: its folder holds a training under other settings, on other data or from
                other weights, or something that is not a study's.
        """
        if not self.file.is_file() and Path(self.folder).is_dir():
            raise ConfigError(
                f"{self.folder} exists, and is not a run of a study; move it away, or name another "
                f"folder with --runs"
            )
        if Path(self.folder).is_dir():
            before = read_json(self.file)["head"]
            differing = [key for key in self.head if before.get(key) != self.head[key]]
            if differing:
                raise ConfigError(
                    f"{self.folder} holds a training of this run with other "
                    f"{', '.join(differing)}; move it away, or name another "
                    "folder with --runs"
                )
        write_json(self.file, dataclasses.asdict(self))

    def require_weights(self) -> None:
        """Raise `WeightsNotFoundError` if the run has a record and its weights are gone; training
        again would give others.
        """
        if Path(self.record).is_file() and not self.weights.is_file():
            raise WeightsNotFoundError(
                f"{self.record} lacks settings that the study needs, and the weights that it was "
                f"made with are not at {self.weights}; put them there, say with --runs where they "
                f"are, or move the record away to make the run again"
            )

    def begun_record(self) -> dict[str, Any] | None:
        """Return the record as far as it is; None if there is none. Raises `DataError` if it is of
        other weights.
        """
        path = Path(self.record)
        if not path.is_file():
            return None
        record: dict[str, Any] = read_json(path)
        if record["weights_sha256"] != (found := sha256_of(self.weights)):
            raise DataError(
                f"{path} was measured with other weights than {self.weights} (SHA-256 "
                f"{record['weights_sha256']}, and {found}); figures of two trainings don't mix: "
                f"move one of the two away"
            )
        return record

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read a job's file."""
        return cls(**read_json(path))
