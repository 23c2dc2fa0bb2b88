"""The page of ``yolo-ema doctor --gpu``: one HTML file that loads nothing from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yolo_ema.doctor.gpu.result import MINIATURE, PASSED, GpuResult
from yolo_ema.io.resources import page_template

_HERE = Path(__file__).parent
_PRESET = "train-"


def page(result: GpuResult) -> str:
    """Return the page as HTML."""
    from markupsafe import Markup

    return page_template(_HERE / "page.html.jinja", figure=_figure).render(
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        result=result,
        miniature="" if result.is_gpu else MINIATURE,
        passed=PASSED,
        checks=[outcome.as_json() for outcome in result.outcomes],
        memory=[
            (outcome.name.removeprefix(_PRESET), outcome.measured)
            for outcome in result.outcomes
            if outcome.name.startswith(_PRESET) and outcome.measured
        ],
        sections=result.machine["sections"],
    )


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
