"""The names and shapes of the network's tensors against a listing of OpenFold v2's.

    python benchmarks/parameters.py [--tree FILE]

Ends with one line of JSON: {"tensors": 5046, "parameters": 93237338, "mismatches": []}. Without
the listing the totals stand alone. Nothing is allocated: the network is built on the meta device.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path

import torch

from sci_memeff.alphafold.config import model_config
from sci_memeff.alphafold.model import AlphaFold

Shapes = dict[str, tuple[int, ...]]

TREE = Path(__file__).resolve().parents[2] / "shared" / "openfold_parameters.txt"
LINE = re.compile(r"(?P<sign>[+-]?) *(?P<name>\S+) +\[(?P<shape>[\d, ]*)\] +x(?P<count>\d+)$")
RANGE = re.compile(r"\[(\d+)\.\.(\d+)\]")


def network(name: str) -> Shapes:
    """Every tensor of a published network."""
    with torch.device("meta"):
        model = AlphaFold(model_config(name))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def totals(shapes: Shapes) -> tuple[int, int]:
    """The number of tensors and of parameters."""
    return len(shapes), sum(torch.Size(shape).numel() for shape in shapes.values())


def by_part(shapes: Shapes) -> dict[str, int]:
    """The number of parameters of each part of the network."""
    parts: Counter[str] = Counter()
    for name, shape in shapes.items():
        parts[name.partition(".")[0]] += torch.Size(shape).numel()
    return dict(parts)


def read_tree(text: str) -> dict[str, Shapes]:
    """Every network of a listing: the first in full, the others by their differences from it.

    A network begins with a line `# NAME: N tensors`, or for the first one with any such line.
    `[a..b]` in a name stands for each number from a to b.
    """
    trees: dict[str, Shapes] = {}
    current: Shapes = {}
    for line in text.splitlines():
        title = re.match(r"# (?P<name>[^:]*): [\d,]+ tensors", line)
        if title:
            first = next(iter(trees.values()), {})
            current = trees[title["name"]] = dict(first)
        found = LINE.match(line)
        if found is None:
            continue
        shape = tuple(int(size) for size in found["shape"].split(","))
        names = expand(found["name"])
        if len(names) != int(found["count"]):
            raise ValueError(f"{found['name']} stands for {len(names)} names, not {found['count']}")
        for name in names:
            if found["sign"] == "-":
                del current[name]
            else:
                current[name] = shape
    return trees


def expand(name: str) -> list[str]:
    """The names that a name with ranges stands for."""
    found = RANGE.search(name)
    if found is None:
        return [name]
    before, after = name[: found.start()], name[found.end() :]
    numbers = range(int(found[1]), int(found[2]) + 1)
    return [full for number in numbers for full in expand(f"{before}{number}{after}")]


def mismatches(ours: Shapes, theirs: Shapes) -> list[str]:
    """What only one of the two has, or has in another shape."""
    return [
        f"{name}: {ours.get(name, 'absent')} here, {theirs.get(name, 'absent')} there"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tree", type=Path, help=f"the listing (default: {TREE}, if it is there)")
    tree = parser.parse_args(arguments).tree or (TREE if TREE.exists() else None)
    ours = network("model_1_ptm")
    for part, count in by_part(ours).items():
        print(f"{part:20} {count:12,}")
    found: list[str] = []
    if tree is None:
        print(f"there is no {TREE.name} to compare with")
    else:
        found = mismatches(ours, next(iter(read_tree(tree.read_text()).values())))
        print(f"{len(found)} mismatches with {tree.name}")
    tensors, parameters = totals(ours)
    print(json.dumps({"tensors": tensors, "parameters": parameters, "mismatches": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
