"""What a training job reads data as: each channel has an address of its own."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """A job's data, by what it is for."""

    train = "train"
    eval = "eval"
