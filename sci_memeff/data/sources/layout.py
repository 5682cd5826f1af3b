"""Folders of structures and alignments, in the layouts of OpenFold and OpenProteinSet.

    root/mmcif/1ubq.cif[.gz]           or mmcif_files/, or divided: mmcif/ub/1ubq.cif.gz
    root/alignments/1ubq_A/*.a3m       .a3m .sto .hhr [.gz]; or below a3m/ and hhr/
    root/predicted/NAME.pdb[.gz]       predictions to distil from; alignments/NAME belongs to them

ENTRY is a PDB id and CHAIN an author chain id. A chain without a folder of alignments is a chain
without known relatives, no error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sci_memeff.data.formats.a3m import read_a3m
from sci_memeff.data.formats.hhr import TemplateHit, read_hhr
from sci_memeff.data.formats.mmcif import read_mmcif
from sci_memeff.data.formats.msa import Msa
from sci_memeff.data.formats.pdb import read_pdb
from sci_memeff.data.formats.stockholm import read_stockholm
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.errors import BadDataError

__all__ = ["AlignmentFiles", "DataFolder", "split_name"]

_MMCIF_FOLDERS = ("mmcif", "mmcif_files", "pdb_mmcif/mmcif_files", "pdb_data/mmcif_files")
_ALIGNMENT_FOLDERS = ("alignments", "alignment_dir", "alignment_data/alignments")
_PREDICTED = "predicted"
# Not alignments of one chain: AF2-Multimer's template hits, and its rows to pair between chains.
_OTHER_USES = ("hmm_output.sto", "uniprot_hits.sto")


@dataclass(frozen=True)
class AlignmentFiles:
    """The alignment files of one chain, sorted by name."""

    msas: tuple[Path, ...] = ()
    """A3M and Stockholm."""
    hits: tuple[Path, ...] = ()
    """HHsearch results."""


class DataFolder:
    """A folder of training data, as the module says; nothing is read before it is asked for.

    `mmcif_dir` and `alignment_dir` are looked for below `root` where they are not given. Errors:
    BadDataError for a folder that is given and not there, or is a file.
    """

    def __init__(
        self,
        root: str | Path,
        mmcif_dir: str | Path | None = None,
        alignment_dir: str | Path | None = None,
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise BadDataError(
                "no such folder",
                source=str(root),
                mend="give the folder that holds mmcif/ and alignments/",
            )
        self.mmcif_dir = _folder(self.root, mmcif_dir, _MMCIF_FOLDERS)
        self.alignment_dir = _folder(self.root, alignment_dir, _ALIGNMENT_FOLDERS)
        self.predicted_dir = _folder(self.root, None, (_PREDICTED,))

    def __repr__(self) -> str:
        return f"DataFolder({str(self.root)!r})"

    def entries(self) -> tuple[str, ...]:
        """Entry ids that have an mmCIF file, sorted."""
        return _stems(self.mmcif_dir, ".cif", divided=True)

    def predictions(self) -> tuple[str, ...]:
        """Names of the predicted structures, sorted."""
        return _stems(self.predicted_dir, ".pdb", divided=False)

    def aligned_chains(self) -> tuple[str, ...]:
        """Names that have a folder of alignments, sorted."""
        if not self.alignment_dir.is_dir():
            return ()
        folders = (path for path in self.alignment_dir.iterdir() if path.is_dir())
        return tuple(sorted(path.name for path in folders if not path.name.startswith(".")))

    def mmcif_path(self, entry_id: str) -> Path:
        """The file of an entry; BadDataError says where it was looked for and what is near."""
        lower = entry_id.lower()
        names = [f"{stem}{end}" for stem in (lower, lower.upper()) for end in (".cif", ".cif.gz")]
        places = [self.mmcif_dir, self.mmcif_dir / lower[1:3]]
        found = _first_file(place / name for place in places for name in names)
        if found is None:
            raise _missing(f"entry {entry_id}", places, names[:2], self.entries())
        return found

    def prediction_path(self, name: str) -> Path:
        """The file of a predicted structure; BadDataError as for entries."""
        names = [f"{name}.pdb", f"{name}.pdb.gz"]
        found = _first_file(self.predicted_dir / file for file in names)
        if found is None:
            raise _missing(f"prediction {name}", [self.predicted_dir], names, self.predictions())
        return found

    def structure(self, entry_id: str, *, model: int = 1) -> Structure:
        """Read an entry."""
        return read_mmcif(self.mmcif_path(entry_id), model=model)

    def chain(self, name: str) -> Chain:
        """Read the chain ENTRY_CHAIN; BadDataError lists the chains of the entry."""
        entry_id, author_id = split_name(name)
        return self.structure(entry_id).chain(author_id)

    def prediction(self, name: str) -> Chain:
        """Read a predicted structure, the one chain of its file; its B-factors are pLDDT."""
        path = self.prediction_path(name)
        chains = list(read_pdb(path).chains.values())
        if len(chains) > 1:
            raise BadDataError(
                f"has {len(chains)} protein chains: {', '.join(c.author_id for c in chains)}",
                source=str(path),
                mend="give one file for each predicted chain",
            )
        return chains[0]

    def alignments(self, name: str) -> AlignmentFiles:
        """The alignment files of a chain or prediction; none where it has no folder."""
        folder = _folder(self.alignment_dir, None, (name,))
        places = [folder, folder / "a3m", folder / "hhr"]
        files = [path for place in places if place.is_dir() for path in place.iterdir()]
        files = sorted(path for path in files if path.is_file() and not path.name.startswith("."))
        return AlignmentFiles(
            msas=tuple(
                path
                for path in files
                if _plain(path).endswith((".a3m", ".sto")) and _plain(path) not in _OTHER_USES
            ),
            hits=tuple(path for path in files if _plain(path).endswith(".hhr")),
        )

    def msas(self, name: str) -> dict[str, Msa]:
        """Read the alignments of a chain: path → alignment."""
        files = self.alignments(name).msas
        return {
            str(path): read_a3m(path) if _plain(path).endswith(".a3m") else read_stockholm(path)
            for path in files
        }

    def template_hits(self, name: str) -> tuple[TemplateHit, ...]:
        """Read the template hits of a chain, file after file."""
        return tuple(hit for path in self.alignments(name).hits for hit in read_hhr(path))


def split_name(name: str) -> tuple[str, str]:
    """ENTRY_CHAIN as entry id (lower case) and author chain id (case kept)."""
    entry_id, _, author_id = name.partition("_")
    if not entry_id or not author_id:
        raise BadDataError(
            f"{name!r} is no chain name",
            source=name,
            mend="write ENTRY_CHAIN with the author chain id, as in 1ubq_A",
        )
    return entry_id.lower(), author_id


def _folder(root: Path, given: str | Path | None, usual: tuple[str, ...]) -> Path:
    """The folder that is given, which must be there, or the first usual one that is."""
    if given is None:
        found = next((root / name for name in usual if (root / name).exists()), root / usual[0])
        if found.exists() and not found.is_dir():
            raise BadDataError(
                "is a file", source=str(found), mend="make it a folder, or take it away"
            )
        return found
    for path in (Path(given), root / given):
        if path.is_dir():
            return path
    raise BadDataError("no such folder", source=str(given), mend=f"give a folder, or one in {root}")


def _plain(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _stems(folder: Path, suffix: str, *, divided: bool) -> tuple[str, ...]:
    """The names of files with this suffix, itself and .gz taken off."""
    if not folder.is_dir():
        return ()
    files = [*folder.iterdir(), *(folder.glob("[!.]?/*") if divided else ())]
    names = (_plain(path) for path in files if not path.name.startswith("."))
    stems = {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
    return tuple(sorted({stem.lower() for stem in stems} if divided else stems))


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _missing(
    what: str, places: list[Path], names: list[str], there: tuple[str, ...]
) -> BadDataError:
    wanted = what.split()[-1]
    near = difflib.get_close_matches(wanted.lower(), there, n=5, cutoff=0.5) or list(there[:5])
    return BadDataError(
        f"no file of {what}: looked for {' or '.join(names)} in "
        f"{' and '.join(str(place) for place in places)}",
        source=str(places[0]),
        mend=f"put it there (sci-memeff data fetch can), or name one that is there: "
        f"{', '.join(near) or 'there is none'}",
    )
