"""What monitors read of an engine: the shape of MarginEngine's views, of which a sink or collector needs nothing else."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.report import AccountInfo, Population


class EngineView(Protocol):
    """One shard's engine, read only, except that take_touched clears its marks."""

    @property
    def offset(self) -> int:
        """Log offset of the next frame."""

    @property
    def clock_ns(self) -> int:
        """Engine time."""

    @property
    def account_count(self) -> int:
        """How many accounts are defined; slots are 0 to account_count - 1."""

    @property
    def rule_set(self) -> str:
        """Hash of the rule versions in force."""

    def account_info(self, slot: int, /) -> AccountInfo:
        """Who the account in a slot is."""

    def figures(self, slots: NDArray[np.int32], /) -> NDArray[np.void]:
        """FIGURES rows of these slots."""

    def book_hashes(self, slots: NDArray[np.int32], /) -> NDArray[np.uint64]:
        """By account a hash of what it holds, never 0."""

    def books(self, slots: NDArray[np.int32], /) -> list[bytes]:
        """What these accounts hold, as bytes."""

    def agreements(self, first: int, /) -> tuple[int, list[tuple[str, str, bytes]]]:
        """(how many documents there are, customer, id and JSON of the agreements among those from number `first` on)."""

    def take_touched(self) -> NDArray[np.int32]:
        """Slots whose figures changed since the last call."""

    def population(self) -> Population:
        """All accounts in sum."""

    def usage(self) -> dict[str, tuple[int, int]]:
        """Per limit: how much is used, and how much there is."""

    def id_span_ns(self) -> int:
        """Span of event time that the remembered ids cover."""
