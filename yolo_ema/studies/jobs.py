"""What one run of a study does, as plain values in a file: all that its process needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from yolo_ema.engine.data.dataset_lookup import resolve_data
from yolo_ema.engine.data.split_files import data_fingerprint, split_images
from yolo_ema.engine.weights.pretrained import resolve_pretrained
from yolo_ema.errors import ConfigError, DataError, WeightsNotFoundError
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json
from yolo_ema.options.ablate import AblateOptions
from yolo_ema.studies.records import data_facts, record_path, run_id
from yolo_ema.studies.spec import Arm, Study

__all__ = ["Job", "Place", "find_place", "weights_of"]


def weights_of(folder: Path) -> Path:
    """Return the weights that a run is measured with: those of its last epoch, so that nothing is
    chosen on the images that are measured.
    """
    return folder / "weights" / "last.pt"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a study finds its data and first weights on this machine, and puts runs and records.

    Attributes:
        data_yaml: the dataset.
        data: what records say about it.
        pretrained: the first weights, or None for random ones.
        pretrained_sha256: their digest.
        runs: the folder of the study's trainings.
        records: the folder of its records.
        device: as in train.
        offline: forbid all downloads.
    """

    data_yaml: Path
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
        DataError: the dataset is missing, or wrong.
        WeightsError: the first weights are missing.
        OfflineError: a download would be needed, and is forbidden.
    """
    try:
        data_yaml = resolve_data(
            options.data or study.data, offline=options.offline, splits=("train", "val")
        ).absolute()
        split_images(data_yaml, study.split)  # else the study fails when it measures, hours later
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
    return Place(
        data_yaml,
        data_facts(study.data, data_fingerprint(data_yaml)),
        weights,
        sha256_of(weights) if weights else None,
        options.runs.absolute() / study.name,
        records.absolute(),
        options.device,
        options.offline,
    )


@dataclasses.dataclass(frozen=True)
class Job:
    """One arm at one seed.

    Attributes:
        folder: of the training, with ``weights/`` and ``run.json``.
        record: the file that the run's record goes to.
        head: the record's first entries: study, arm, seed, settings, data, first weights.
        train: the values of `TrainOptions`.
        budget: `Budget`'s values.
        baseline_model: the model whose start this one's is compared with.
        evaluations: `Evaluation`'s values, one entry each.
        data, device: the data that is measured on, and where.
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

    @classmethod
    def of(cls, study: Study, arm: Arm, seed: int, place: Place) -> Job:
        """Return the job of a run."""
        name = run_id(arm.name, seed)
        train = study.train_options(
            arm,
            seed,
            data=str(place.data_yaml),
            pretrained=str(place.pretrained or "none"),
            project=str(place.runs),
            name=name,
            device=place.device,
            offline=place.offline,
        )
        head = {
            "study": study.name,
            "arm": arm.name,
            "seed": seed,
            "settings_sha256": study.settings_sha256(arm),
            "settings": study.settings(arm),
            "data": place.data,
            "pretrained": {"name": study.pretrained, "sha256": place.pretrained_sha256},
            "baseline_model_sha256": study.arm(study.baseline).model_sha256,
        }
        return cls(
            folder=str(place.runs / name),
            record=str(record_path(place.records, arm.name, seed)),
            head=head,
            train=train,
            budget=arm.budget.model_dump(),
            baseline_model=study.arm(study.baseline).model,
            evaluations=[at.model_dump() for at in study.evaluations],
            data=str(place.data_yaml),
            device=place.device,
        )

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

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read a job's file."""
        return cls(**read_json(path))
