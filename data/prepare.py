"""Make the bundled entries again, from the test data that the `openfold3` wheel carries.

    .venv/bin/python data/prepare.py

Each entry is read, one chain of its first model is kept, and written by
`sci_memeff.data.formats.write`. Prints one line for each, as README.md has them.
"""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

from sci_memeff.data.formats.mmcif import read_mmcif
from sci_memeff.data.formats.write import write_mmcif

HERE = Path(__file__).parent
CHAINS = ("1hf9_A", "1psm_A", "1ubq_A", "2q2k_A", "4zey_A")
ALIGNMENTS = ("bfd_uniclust_hits.a3m", "mgnify_hits.sto", "uniref90_hits.sto")
ALIGNED = "2q2k_A"


def wheel_data() -> Path:
    """The folder of test data in the installed wheel."""
    spec = importlib.util.find_spec("openfold3")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("openfold3 is not installed: make setup")
    return Path(spec.submodule_search_locations[0]) / "tests" / "test_data"


def prepare(source: Path, target: Path) -> None:
    """Write target/mmcif and target/alignments."""
    for name in CHAINS:
        entry_id, author_id = name.split("_")
        whole = read_mmcif(source / "mmcifs" / f"{entry_id}.cif")
        chain = whole.chain(author_id)
        write_mmcif(target / "mmcif" / f"{entry_id}.cif", replace(whole, chains={author_id: chain}))
        resolution = f"{whole.resolution:g} Å" if whole.resolution else "–"
        resolved = int(chain.mask.any(axis=1).sum())
        print(f"| {name} | {len(chain)} | {resolved} | {whole.method} | {resolution} |")
    folder = target / "alignments" / ALIGNED
    folder.mkdir(parents=True, exist_ok=True)
    for file in ALIGNMENTS:
        shutil.copyfile(source / "alignments" / ALIGNED / file, folder / file)


if __name__ == "__main__":
    prepare(wheel_data(), HERE)
