"""Training data as a function of a number: sample k of a run is always the same example."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.data import Dataset

from sci_memeff.data.config import DataConfig
from sci_memeff.data.example import Example, Skipped
from sci_memeff.data.features.pipeline import evaluation_example, training_example
from sci_memeff.data.filters import split_records
from sci_memeff.data.proteins.cache import ProteinCache
from sci_memeff.data.sampling import Sampler
from sci_memeff.data.sources.index import list_records
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.data.sources.record import Record
from sci_memeff.data.sources.side_files import records_to_hold_out
from sci_memeff.errors import BadDataError

__all__ = ["TrainingData"]

_ENDLESS = 2**62
_NAMED = 10  # dropped chains that the error of an empty set names


class TrainingData(Dataset[Example | Skipped]):
    """An endless run of samples from a folder of structures and alignments.

    `records` are trained on, `held_out` only scored (validation.txt names them), `dropped` says by
    name why other chains, files and alignments are not used. `cache_dir` keeps parsed files
    between runs. Errors: BadDataError where nothing can be trained on, and of the side files.
    """

    records: tuple[Record, ...]
    held_out: tuple[Record, ...]
    dropped: Mapping[str, str]

    def __init__(
        self,
        folder: DataFolder,
        config: DataConfig,
        seed: int = 0,
        *,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.config = config
        self.seed = seed
        listed, unreadable, unused = list_records(folder)
        held_out = records_to_hold_out(folder, listed)
        names = {record.name for record in held_out}
        kept, refused = split_records((one for one in listed if one.name not in names), config)
        self.records, self.held_out = tuple(kept), held_out
        self.dropped = unreadable | refused | unused
        if not self.records:
            raise _nothing(folder, self.dropped)
        self._sampler = Sampler(self.records, config, seed)
        self._proteins = ProteinCache(folder, config, cache_dir)

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, sample: int) -> Example | Skipped:
        """Sample number `sample`, from 0: a pure function of the files, the seed and the number.

        `Skipped` where the chain's files are bad; what else goes wrong is a bug and is raised.
        """
        record = self._sampler[sample]
        try:
            protein = self._proteins.read(record.name, is_distillation=record.is_distillation)
        except BadDataError as error:
            return Skipped(record.name, error.wrong)
        return training_example(protein, self.config, seed=self.seed, sample=sample)

    def validation(self) -> list[Example]:
        """Examples to score with, always the same: the held-out chains, else those trained on.

        Predicted structures are no measure and are left out, as are bad files (see `dropped`).
        At most `max_validation` chains, the first `validation_size` residues of each.
        """
        records = self.held_out or [one for one in self.records if not one.is_distillation]
        examples = []
        for record in records[: self.config.max_validation]:
            try:
                protein = self._proteins.read(record.name)
            except BadDataError as error:
                self.dropped = {**self.dropped, record.name: str(error)}
                continue
            size = self.config.validation_size or self.config.crop_size
            examples.append(evaluation_example(protein, self.config, crop_size=size))
        return examples


def _nothing(folder: DataFolder, dropped: Mapping[str, str]) -> BadDataError:
    reasons = [f"\n{name}: {reason}".replace("\n", "\n  ") for name, reason in dropped.items()]
    reasons[_NAMED:] = [f"\n  and {len(reasons) - _NAMED} more"] if reasons[_NAMED:] else []
    return BadDataError(
        f"nothing to train on{''.join(reasons) or f': no structures in {folder.mmcif_dir}'}",
        source=str(folder.root),
        mend="put structures into mmcif/ (sci-memeff data fetch can), or widen the filters",
    )
