"""Parsed proteins, kept from one run to the next.

An entry is found by a hash of everything it was made from: the bytes of the structure and
alignment files, the settings that matter, and this module's format. Template structures are known
only once the hits are read, so the entry lists them with their hashes and is checked against them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sci_memeff.data.config import DataConfig
from sci_memeff.data.formats.structure import Structure
from sci_memeff.data.proteins.array_cache import ArrayCache, Arrays, Notes, digest
from sci_memeff.data.proteins.reading import read_chain, read_prediction, template_structure
from sci_memeff.data.proteins.record import Alignment, Protein, Target, Templates
from sci_memeff.data.sources.layout import DataFolder, split_name
from sci_memeff.errors import BadDataError

__all__ = ["ProteinCache"]

_FORMAT = "1"  # raise it whenever a parser or a field of Protein changes


class ProteinCache:
    """Proteins of a data folder; `cache_dir` None keeps nothing and reads every time."""

    def __init__(
        self, folder: DataFolder, config: DataConfig, cache_dir: str | Path | None = None
    ) -> None:
        self.folder = folder
        self.config = config
        self._cache = None if cache_dir is None else ArrayCache(cache_dir)
        self._template_hashes: dict[str, str] = {}

    def read(self, name: str, *, is_distillation: bool = False) -> Protein:
        """The protein of that name; BadDataError of the parsers where its files are bad."""
        if self._cache is None:
            return self._parse(name, is_distillation)[0]
        key = self._key(name, is_distillation)
        found = self._cache.load(key)
        if found is not None and self._is_current(found[1]):
            return _protein(*found)
        protein, asked = self._parse(name, is_distillation)
        templates = {entry_id: self._template_hash(entry_id) for entry_id in asked}
        if self._key(name, is_distillation) == key:  # the files are still those that were hashed
            self._cache.store(key, *_stored(protein, templates))
        return protein

    def _parse(self, name: str, is_distillation: bool) -> tuple[Protein, list[str]]:
        asked: list[str] = []

        def read(entry_id: str) -> Structure | None:
            asked.append(entry_id)
            return template_structure(self.folder, entry_id)

        parse = read_prediction if is_distillation else read_chain
        return parse(self.folder, name, self.config, read=read), asked

    def _key(self, name: str, is_distillation: bool) -> str:
        files = self.folder.alignments(name)
        if is_distillation:
            structure = self.folder.prediction_path(name)
        else:
            structure = self.folder.mmcif_path(split_name(name)[0])
        config = self.config
        settings = [config.max_templates > 0, config.max_template_hits, config.max_template_date]
        settings += [config.distillation_plddt] if is_distillation else []
        parts = [f"{_FORMAT} {name} {is_distillation} {settings}".encode()]
        for path in (structure, *files.msas, *files.hits):
            parts += [path.name.encode(), path.read_bytes()]
        return digest(*parts)

    def _is_current(self, notes: Notes) -> bool:
        templates = json.loads(notes["templates"])
        return all(self._template_hash(entry) == known for entry, known in templates.items())

    def _template_hash(self, entry_id: str) -> str:
        """Of a template's file, "" where there is none; asked of the disk once per process, as
        many chains share templates."""
        if entry_id not in self._template_hashes:
            try:
                content = self.folder.mmcif_path(entry_id).read_bytes()
            except BadDataError:
                self._template_hashes[entry_id] = ""
            else:
                self._template_hashes[entry_id] = digest(content)
        return self._template_hashes[entry_id]


def _stored(protein: Protein, templates: dict[str, str]) -> tuple[Arrays, Notes]:
    deletions = protein.alignment.deletions
    arrays = {
        "msa": protein.alignment.msa,
        "deletions": deletions.astype(np.min_scalar_type(int(deletions.max(initial=0)))),
        **{f"template_{name}": value for name, value in protein.templates._asdict().items()},
    }
    notes = {
        "name": protein.name,
        "sequence": protein.sequence,
        "templates": json.dumps(templates),
    }
    target = protein.target
    if target is not None:
        arrays |= {"positions": target.positions, "mask": target.mask}
        notes["target"] = json.dumps([target.resolution, target.is_distillation])
    return arrays, notes


def _protein(arrays: Arrays, notes: Notes) -> Protein:
    target = None
    if "target" in notes:
        target = Target(arrays["positions"], arrays["mask"], *json.loads(notes["target"]))
    return Protein(
        notes["name"],
        notes["sequence"],
        Alignment(arrays["msa"], arrays["deletions"].astype(np.int32)),
        Templates(*(arrays[f"template_{name}"] for name in Templates._fields)),
        target,
    )
