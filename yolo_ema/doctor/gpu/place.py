"""Where a check runs, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class CannotRunError(Exception):
    """Something that a check needs is not installed here, which is not a fault."""


@dataclass(frozen=True)
class Place:
    """Where a check runs.

    Attributes:
        device: ``cpu``, or a GPU's number as a word.
        folder: an empty folder of the check's own.
        shared: a folder that all checks of a run share, for what is drawn once.
    """

    device: str
    folder: Path
    shared: Path

    @property
    def is_gpu(self) -> bool:
        """Whether this is the real thing; on the CPU sizes are tiny."""
        return self.device != "cpu"

    @property
    def torch_device(self) -> torch.device:
        """The device as torch names it."""
        import torch

        return torch.device(f"cuda:{self.device}" if self.is_gpu else "cpu")

    def size(self, gpu: Any, cpu: Any) -> Any:
        """Return the first on a GPU, the second in miniature."""
        return gpu if self.is_gpu else cpu

    def synchronize(self) -> None:
        """Wait until the GPU has done what it was given."""
        if self.is_gpu:
            import torch

            torch.cuda.synchronize(self.torch_device)


@dataclass
class Finding:
    """What a check measured, and what lies outside its limits.

    Attributes:
        measured: numbers, words and switches by name, with the unit in the name.
        problems: a sentence for each limit that is not kept; none where the check passes.
    """

    measured: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def limit(self, name: str, value: float, *, at_most: float, unit: str = "") -> None:
        """Note a figure, and a problem where it is above its limit or no number."""
        self.measured[name] = value
        if not value <= at_most:  # so that NaN is a problem, too
            self.problems.append(
                f"{name} is {value:.3g}{unit}; expected at most {at_most:.3g}{unit}"
            )

    def expect(self, holds: bool, problem: str) -> None:
        """Note a problem where something does not hold."""
        if not holds:
            self.problems.append(problem)
