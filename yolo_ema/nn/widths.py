"""The numbers that attention blocks are set by: what they may be, and the widths they make."""

from __future__ import annotations

from yolo_ema.errors import ConfigError


def check_numbers(block: str, **numbers: object) -> None:
    """Raise `ConfigError` where one of the named numbers is not whole or below 1; the message
    begins with ``block``.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"{block}: {name} must be a whole number of at least 1, not {value!r}"
            )


def hidden_channels(block: str, channels: int, reduction: int) -> int:
    """Return how many channels a hidden layer has: at least one.

    Raises:
        ConfigError: see `check_numbers`.
    """
    check_numbers(block, channels=channels, reduction=reduction)
    return max(channels // reduction, 1)
