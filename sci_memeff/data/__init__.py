"""From files to features: structures, alignments, templates, and AlphaFold 2's pipeline on them.

Parsers turn text into frozen records; `Protein` joins the records of one chain; an `Example` is
what the network sees of it. Everything is numpy and, given a seed, a pure function.
"""

from __future__ import annotations

from sci_memeff.data.batch import make_batch
from sci_memeff.data.config import DataConfig
from sci_memeff.data.dataset import TrainingData
from sci_memeff.data.example import Example, Skipped
from sci_memeff.data.features.pipeline import evaluation_example, training_example
from sci_memeff.data.proteins.cache import ProteinCache
from sci_memeff.data.proteins.reading import read_chain, read_prediction, sequence_protein
from sci_memeff.data.proteins.record import Protein, Target
from sci_memeff.data.sources.layout import DataFolder

__all__ = [
    "DataConfig",
    "DataFolder",
    "Example",
    "Protein",
    "ProteinCache",
    "Skipped",
    "Target",
    "TrainingData",
    "evaluation_example",
    "make_batch",
    "read_chain",
    "read_prediction",
    "sequence_protein",
    "training_example",
]
