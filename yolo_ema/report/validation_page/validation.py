"""The ``val`` verb: figures, and where a report is asked for, the page that shows why."""

from __future__ import annotations

import dataclasses

from yolo_ema.evaluate.validation import ValResult, validate
from yolo_ema.io.atomic_files import write_text
from yolo_ema.metrics.error_analysis import diagnose
from yolo_ema.options.val import ValOptions
from yolo_ema.report.validation_page.html_page import validation_page

__all__ = ["REPORT_NAME", "validate_and_report"]

REPORT_NAME = "report.html"


def validate_and_report(options: ValOptions) -> ValResult:
    """Score weights on a dataset's split, and write ``report.html`` into ``options.report`` where
    that is given.

    Raises:
        What `yolo_ema.evaluate.validation.validate` raises, and `DiskFullError` where the page does
        not fit.
    """
    result = validate(options)
    if options.report is None:
        return result
    evidence = result.evidence
    diagnosis = diagnose(
        evidence.ground_truth,
        evidence.detections,
        evidence.sizes_wh,
        class_names=evidence.class_names,
    )
    page = options.report / REPORT_NAME
    write_text(page, validation_page(result, diagnosis))
    return dataclasses.replace(result, report=page)
