"""Which chain sample k is of (AlphaFold 2, Supplement 1.2.5 and 1.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sci_memeff.data.config import DataConfig
from sci_memeff.data.sources.record import Record
from sci_memeff.data.streams import Purpose, stream

__all__ = ["Sampler", "weight"]

_SHORT, _LONG = 256, 512


def weight(record: Record) -> float:
    """Relative chance of a chain: 1/512·max(min(length, 512), 256), over its cluster's size."""
    return max(min(len(record.sequence), _LONG), _SHORT) / _LONG / record.cluster_size


class Sampler:
    """Draws with replacement: each sample is independent of all others.

    AlphaFold 2 accepts chains with these weights as probabilities in a shuffled pass over the
    set; the frequencies are the same, and sample k is known without its predecessors.
    """

    def __init__(self, records: Sequence[Record], config: DataConfig, seed: int) -> None:
        groups = {
            kind: [record for record in records if record.is_distillation is kind]
            for kind in (False, True)
        }
        self._groups = {kind: group for kind, group in groups.items() if group}
        self._limits = {
            kind: np.cumsum([weight(record) for record in group])
            for kind, group in self._groups.items()
        }
        self._distillation_probability = config.distillation_probability
        self._seed = seed

    def __getitem__(self, sample: int) -> Record:
        """The record of that sample; experiments alone where there are no predictions."""
        rng = stream(self._seed, sample, Purpose.RECORD)
        kind = bool(rng.random() < self._distillation_probability)
        if kind not in self._groups:
            kind = not kind
        limits = self._limits[kind]
        index = np.searchsorted(limits, rng.random() * limits[-1], side="right")
        return self._groups[kind][min(int(index), len(limits) - 1)]
