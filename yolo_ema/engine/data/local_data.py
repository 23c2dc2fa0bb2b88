"""Data that is here already: what every verb but ``train`` and ``data prepare`` works on."""

from __future__ import annotations

from pathlib import Path

from yolo_ema.engine.data.datasets import resolve_data
from yolo_ema.errors import OfflineError

__all__ = ["local_data"]


def local_data(data: str | Path) -> Path:
    """Return the data YAML that ``data`` means, as `resolve_data` does, and never download.

    Raises:
        DataNotFoundError: nothing there goes by that name, or its images are missing and nothing
            says where to fetch them.
        DataError: it is there, and is no dataset.
        OfflineError: its images are missing, and would have to be fetched first.
    """
    try:
        # Trusting lets the missing images be the finding; offline, no script runs.
        return resolve_data(data, offline=True, trust=True)
    except OfflineError as error:
        if str(data).lower().removesuffix(".yaml") == "visdrone":
            advice = (
                "run yolo-ema data prepare visdrone first (with --source DIR where you have "
                "the archives)"
            )
        else:
            advice = (
                f"only training fetches it (yolo-ema train --data {data}); or put its images "
                f"there, then run this again"
            )
        raise OfflineError(
            f"the images of {data} are not here, and this command downloads nothing; {advice}"
        ) from error
