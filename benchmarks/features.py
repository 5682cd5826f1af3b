"""How long mmCIF and alignments take to become the features of one chain.

    python benchmarks/features.py --data DIR --entry 7zzx_B

Nothing is cached; the whole chain, every row of its alignments and all passes are used, which is
more work than any training example of the chain. The last line is JSON: seconds (the slowest of
--repeats), rows in the alignment files, residues.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from sci_memeff.data.batch import make_batch
from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.pipeline import evaluation_example
from sci_memeff.data.proteins.reading import read_chain, read_prediction
from sci_memeff.data.proteins.record import Protein
from sci_memeff.data.sources.layout import DataFolder


def measure(folder: DataFolder, name: str, config: DataConfig) -> tuple[float, Protein]:
    """Seconds from files to a batch, and the protein."""
    read = read_prediction if name in folder.predictions() else read_chain
    start = time.perf_counter()
    protein = read(folder, name, config)
    parsed = time.perf_counter()
    make_batch([evaluation_example(protein, config)])
    end = time.perf_counter()
    print(
        f"{end - start:.3f} s: parsing {parsed - start:.3f}, features {end - parsed:.3f} "
        f"({len(protein.alignment.msa)} different rows)"
    )
    return end - start, protein


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of mmcif/ and alignments/")
    parser.add_argument("--entry", required=True, help="ENTRY_CHAIN, or the name of a prediction")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    folder, config = DataFolder(arguments.data), DataConfig()
    runs = [measure(folder, arguments.entry, config) for _ in range(arguments.repeats)]
    rows = sum(len(msa) for msa in folder.msas(arguments.entry).values())
    result = {
        "seconds": round(max(seconds for seconds, _ in runs), 3),
        "msa_rows": rows,
        "residues": len(runs[0][1]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
