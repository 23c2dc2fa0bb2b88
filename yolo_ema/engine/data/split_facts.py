"""What records keep of a dataset's splits, as
`yolo_ema.engine.data.split_files.data_fingerprint` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_same_split(facts: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Say whether two records of a split agree in what both know: older ones know nothing of
    ignored regions.
    """
    return all(facts[key] == others[key] for key in facts.keys() & others.keys())
