"""How wide the hidden layers of attention blocks are."""

from __future__ import annotations

from yolo_ema.errors import ConfigError

__all__ = ["hidden_channels"]


def hidden_channels(block: str, channels: int, reduction: int) -> int:
    """Return how many channels a hidden layer has: at least one.

    Raises:
        ConfigError: a number is not whole or below 1; the message begins with ``block``.
    """
    for name, value in (("channels", channels), ("reduction", reduction)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"{block}: {name} must be a whole number of at least 1, not {value!r}"
            )
    return max(channels // reduction, 1)
