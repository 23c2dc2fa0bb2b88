"""Which of the source's outputs each class of a target takes over: those of the class of its name.

The last convolution of a head's class branches has one output, a row of its weight and bias, per
class. Carried over by position, a row would go to whatever class has the number.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import torch
from torch import nn

CLASS_BRANCHES = ("cv3", "one2one_cv3")
"""The branches of Detect whose last convolution has one output per class."""

_PLACEHOLDER = re.compile(r"(?:class[ _]?)?(\d+)")
_ANY_CLASS = {"item"}  # what single_cls calls its one class


@dataclasses.dataclass(frozen=True)
class ClassRows:
    """The source's class for each class of the target, in the target's order; None for one that
    the source has not.
    """

    sources: tuple[int | None, ...]

    @property
    def matched(self) -> tuple[int, ...]:
        """Return the target's classes whose rows come from the source."""
        return tuple(row for row, source in enumerate(self.sources) if source is not None)

    @property
    def is_complete(self) -> bool:
        """Whether every class of the target finds its rows."""
        return None not in self.sources

    def placed(self, initial: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """Return the target's initial rows, the matched ones in place of those that are given; what
        is given as it is where its rows are of another shape.
        """
        if initial.shape[1:] != given.shape[1:]:
            return given
        rows = initial.clone()
        sources = [source for source in self.sources if source is not None]
        rows[list(self.matched)] = given[sources].to(rows)
        return rows


def class_rows(source: nn.Module, target: nn.Module) -> ClassRows | None:
    """Return which of the source's rows each class of the target takes; None where they go by
    position: their names are equal, or one of the two has none but numbers.

    Where no name of the target is one of the source's, no row is carried over, even if their
    numbers of classes are equal: a row that tells cars would only be a confidently wrong beginning
    for one that is to tell boats, worse than the expected share of objects.
    """
    names, wanted = _names(source), _names(target)
    if not names or not wanted or list(map(_folded, names)) == list(map(_folded, wanted)):
        return None
    given = list(enumerate(names))[::-1]  # of two alike the first counts
    exact, folded = ({key(name): row for row, name in given} for key in (str, _folded))
    return ClassRows(tuple(exact.get(name, folded.get(_folded(name))) for name in wanted))


def _folded(name: str) -> str:
    return name.strip().lower()


def _names(model: nn.Module) -> list[str]:
    """Return a model's class names in order; none where they say nothing about the classes."""
    names = getattr(model, "names", None) or {}
    if isinstance(names, Mapping):
        names = [names[key] for key in sorted(names)]
    texts = list(map(str, names))
    numbers = [_PLACEHOLDER.fullmatch(_folded(text)) for text in texts]
    is_placeholder = all(match and int(match[1]) == row for row, match in enumerate(numbers))
    return [] if is_placeholder or set(texts) == _ANY_CLASS else texts
