"""Which runtime to take, in a sentence or two, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yolo_ema.deploy.bench.row import BenchRow

__all__ = ["advice"]

_ALIKE = 0.05
"""Runtimes whose medians lie this close, as a share, count as equally fast."""


def advice(rows: Sequence[BenchRow]) -> str:
    """Return what the figures recommend.

    The fastest of those is taken that give the boxes of the weights; of equally fast ones that with
    the least processor time. A faster one whose boxes differ is named with what is not known of it.
    """
    ran = [row for row in rows if row.ran]
    if not ran:
        return "Nothing ran here, so there is nothing to recommend."
    weights = next((row for row in ran if row.is_weights), None)
    if weights is None:
        return (
            "The .pt did not run here, so that no boxes could be compared; no runtime is "
            "recommended."
        )
    same_input = [row for row in ran if row.facts["imgsz_hw"] == weights.facts["imgsz_hw"]]
    proper = [
        row
        for row in same_input
        if row.is_weights or (row.agreement is not None and row.agreement.same)
    ]
    fastest = min(row.latency for row in proper)
    alike = [row for row in proper if row.latency <= fastest * (1 + _ALIKE)]
    best = min(alike, key=lambda row: row.cpu)
    return " ".join([_choice(best, alike), *_caveats(best, ran, same_input)])


def _choice(best: BenchRow, alike: Sequence[BenchRow]) -> str:
    figures = f"{_called(best)}: {_ms(best)} an image"
    if not best.is_weights:
        ratio, agreement = best.times_as_fast, best.agreement
        figures += f", {ratio[0]:.2f} times as fast as the .pt" if ratio else ""
        if agreement:
            figures += f", with its boxes ({agreement.boxes} within {agreement.box_px:.2g} px)"
    others = [f"{_called(row)} {_ms(row)}" for row in alike if row is not best]
    equal = (
        f"; of those within {_ALIKE:.0%} of the fastest ({', '.join(others)}) it takes the least "
        f"processor time"
        if others
        else ""
    )
    return f"Take {figures}{equal}."


def _caveats(
    best: BenchRow, ran: Sequence[BenchRow], same_input: Sequence[BenchRow]
) -> Iterator[str]:
    ratio = best.times_as_fast
    if not best.is_weights and ratio and ratio[1] <= 1 <= ratio[2]:
        yield "Its rounds were not always faster than the .pt's: measure again on a quiet machine."
    for row in same_input:
        agreement = row.agreement
        if row.is_weights or agreement is None or agreement.same:
            continue
        differs = f"its boxes are not those of the weights ({_differences(row)})"
        if row.lossy and row.latency < best.latency:
            yield (
                f"{_called(row)} is faster ({_ms(row)}), but {differs}; what that costs in AP is "
                f"not known from this: "
                "yolo-ema verify FILE --weights W --data D measures it."
            )
        elif not row.lossy and agreement.boxes:
            yield (
                f"{_called(row)} is not to be used before yolo-ema verify says why: {differs}, "
                f"although it is in float32."
            )
    if any(row.agreement is not None and not row.agreement.boxes for row in ran):
        yield (
            "The weights found nothing on these images, so that no boxes could be compared: "
            "give "
            "--images on which they do."
        )
    if others := [_called(row) for row in ran if row not in same_input]:
        yield f"Not compared, since the input has another size than the .pt's: {', '.join(others)}."


def _differences(row: BenchRow) -> str:
    agreement = row.agreement
    if agreement is None:
        return ""
    far = f"up to {agreement.box_px:.2g} px and {agreement.score:.2g} in score"
    return (
        f"{agreement.unmatched} without counterpart beside {agreement.boxes} of the weights, {far}"
    )


def _called(row: BenchRow) -> str:
    device = "" if row.facts["device"] == "cpu" else f" on {row.facts['device']}"
    return f"{'the .pt' if row.is_weights else row.label}{device}"


def _ms(row: BenchRow) -> str:
    return f"{1000 * row.latency:.0f} ms"
