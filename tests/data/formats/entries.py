"""Small mmCIF files to test with: each test shows what stands in its own."""

from __future__ import annotations

from collections.abc import Sequence

GLYCINE = ("N", "CA", "C", "O")
_SITE_NAMES = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
    "label_entity_id label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy "
    "B_iso_or_equiv auth_seq_id auth_asym_id pdbx_PDB_model_num"
)
_SITE = _SITE_NAMES.split()


def atom(
    name: str,
    component: str = "GLY",
    seq: str | int = 1,
    xyz: Sequence[object] = (1, 2, 3),
    **changes: object,
) -> str:
    """One row of _atom_site; any item by its name."""
    row: dict[str, object] = dict.fromkeys(_SITE, ".")
    row |= {"group_PDB": "ATOM", "id": 1, "type_symbol": name[0], "label_atom_id": name}
    row |= {"label_comp_id": component, "label_asym_id": "A", "label_entity_id": 1}
    row |= {"label_seq_id": seq, "pdbx_PDB_ins_code": "?", "occupancy": "1.0"}
    row |= {"B_iso_or_equiv": "20.0", "auth_seq_id": seq, "auth_asym_id": "A"}
    row |= {"pdbx_PDB_model_num": 1} | dict(
        zip(("Cartn_x", "Cartn_y", "Cartn_z"), xyz, strict=True)
    )
    row |= changes
    return " ".join(str(value) for value in row.values())


def loop(category: str, names: Sequence[str], rows: Sequence[str]) -> str:
    """A table, with the '#' that ends it in the PDB's files."""
    head = "\n".join(f"_{category}.{name}" for name in names)
    return "\n".join(["loop_", head, *rows, "#"]) + "\n"


def entry(
    components: Sequence[str],
    atoms: Sequence[str],
    *,
    canonical: str = "?",
    kind: str = "polypeptide(L)",
    extra: str = "",
) -> str:
    """An entry of one entity in chain A; residues are numbered from 1."""
    residues = [f"1 {number} {name}" for number, name in enumerate(components, start=1)]
    polymer = f"1 '{kind}' {canonical}"
    return (
        "data_TEST\n#\n_entry.id TEST\n#\n"
        + loop("entity_poly", ["entity_id", "type", "pdbx_seq_one_letter_code_can"], [polymer])
        + loop("entity_poly_seq", ["entity_id", "num", "mon_id"], residues)
        + loop("struct_asym", ["id", "entity_id"], ["A 1"])
        + extra
        + loop("atom_site", _SITE, atoms)
    )
