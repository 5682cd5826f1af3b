import shutil
from dataclasses import replace

import numpy as np
import pytest

from sci_memeff.chemistry import ATOM37_INDEX, MSA_GAP
from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.pipeline import evaluation_example, training_example
from sci_memeff.data.formats.hhr import parse_hhr
from sci_memeff.data.formats.write import write_pdb
from sci_memeff.data.proteins.reading import (
    read_chain,
    read_prediction,
    sequence_protein,
    template_structure,
)
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.errors import BadDataError

CONFIG = DataConfig(max_msa_clusters=16, max_extra_msa=32)


@pytest.fixture(scope="module")
def folder(real_data):
    return DataFolder(real_data)


# Residues of SEQRES; rows after joining the searches, which repeat some; resolution.
CHAINS = {
    "102m_A": (154, 836, 1.84),
    "5zyh_A": (237, 926, 1.95),
    "7zzx_B": (204, 8340, 2.4),
    "8f9h_A": (154, 836, 1.75),
    "2q2k_A": (70, 20, 3.0),
}


@pytest.mark.data
@pytest.mark.parametrize("name", CHAINS)
def test_real_chains(folder, name):
    residues, rows, resolution = CHAINS[name]
    protein = read_chain(folder, name, CONFIG)
    assert len(protein) == residues
    assert protein.alignment.msa.shape == (rows, residues)
    assert protein.alignment.msa.max() == MSA_GAP
    assert (protein.alignment.deletions >= 0).all()
    assert len(np.unique(protein.alignment.msa, axis=0)) > 0.99 * rows
    assert protein.target is not None
    assert protein.target.resolution == resolution
    assert not protein.target.is_distillation
    features = training_example(protein, CONFIG, seed=0, sample=0).features
    check_geometry(features)
    assert len(features["msa_feat"]) == min(16, len(features["true_msa"]))


def check_geometry(features):
    """What holds for any real protein: bonds, planes, chirality."""
    first = {name: value[..., 0] for name, value in features.items()}
    positions, mask = first["all_atom_positions"], first["all_atom_mask"]
    n, ca, c = (ATOM37_INDEX[name] for name in ("N", "CA", "C"))
    whole = mask[:, [n, ca, c]].all(axis=1)
    assert whole.mean() > 0.6
    bond = np.linalg.norm(positions[whole, n] - positions[whole, ca], axis=-1)
    assert bond == pytest.approx(1.46, abs=0.1)
    assert np.array_equal(first["backbone_rigid_mask"], whole)
    frames = first["backbone_rigid_tensor"][whole]
    local = np.einsum("nji,nj->ni", frames[:, :3, :3], positions[whole, n] - frames[:, :3, 3])
    assert local[:, :2] == pytest.approx(np.tile([-0.525, 1.363], (len(local), 1)), abs=0.35)
    assert local[:, 2] == pytest.approx(0.0, abs=1e-4)
    beta = mask[:, ATOM37_INDEX["CB"]] * whole > 0
    towards = positions[beta, ATOM37_INDEX["CB"]] - first["backbone_rigid_tensor"][beta, :3, 3]
    side = np.einsum("nji,nj->ni", first["backbone_rigid_tensor"][beta, :3, :3], towards)
    assert (side[:, 2] < -1.0).all()  # L-amino acids
    length = np.linalg.norm(first["chi_angles_sin_cos"], axis=-1)[first["chi_mask"] > 0]
    assert length == pytest.approx(1.0, abs=1e-3)


@pytest.mark.data
def test_a_real_prediction(folder):
    protein = read_prediction(folder, "6kwc_A", CONFIG)
    assert protein.alignment.msa.shape == (3057, 191)
    assert protein.target is not None
    assert protein.target.is_distillation
    assert protein.target.resolution == 0.0
    # No structure of its 60 hits is at hand.
    assert len(folder.template_hits("6kwc_A")) == 60
    assert len(protein.templates.aatype) == 0
    features = training_example(protein, CONFIG, seed=0, sample=0).features
    assert (features["is_distillation"] == 1).all()
    check_geometry(features)


@pytest.mark.data
def test_unsure_residues_of_a_prediction_have_no_atoms(folder):
    chain = folder.prediction("6kwc_A")
    plddt = chain.b_factors.max(axis=1)
    limit = float(np.median(plddt))
    config = DataConfig(distillation_plddt=limit)
    target = read_prediction(folder, "6kwc_A", config).target
    assert target is not None
    known = target.mask.any(axis=1)
    assert set(np.unique(known)) == {False, True}
    assert np.array_equal(known, plddt >= limit)
    assert not target.positions[~known].any()
    assert np.array_equal(target.mask[known], chain.mask[known])


@pytest.mark.data
def test_alignments_of_another_chain_are_refused(folder, tmp_path, real_data):
    (tmp_path / "mmcif").symlink_to(real_data / "mmcif")
    (tmp_path / "alignments").mkdir()
    (tmp_path / "alignments" / "5zyh_A").symlink_to(real_data / "alignments" / "102m_A")
    with pytest.raises(BadDataError, match=r"uniref100_hits.a3m: the query of the alignment diff"):
        read_chain(DataFolder(tmp_path), "5zyh_A", CONFIG)


def test_a_prediction_without_a_sure_residue_is_refused(tmp_path, bundled):
    structure = DataFolder(bundled).structure("1psm")
    chain = structure.chain("A")
    b_factors = np.where(chain.mask, np.float32(0.93), np.float32(0.0))  # as some programs write it
    unsure = replace(structure, chains={"A": replace(chain, b_factors=b_factors)})
    write_pdb(tmp_path / "predicted" / "p.pdb", unsure)
    folder = DataFolder(tmp_path)
    with pytest.raises(BadDataError, match=r"p.pdb, field B-factor: no residue .*is 0.93") as bad:
        read_prediction(folder, "p", CONFIG)
    assert "give pLDDT from 0 to 100" in bad.value.mend
    assert read_prediction(folder, "p", DataConfig(distillation_plddt=0.9)).target is not None


def test_a_search_with_another_query_is_refused(bundled, tmp_path, caplog):
    shutil.copytree(bundled / "mmcif", tmp_path / "mmcif")
    sequence = DataFolder(bundled).chain("1ubq_A").sequence
    hits = tmp_path / "alignments" / "1ubq_A" / "hits.hhr"
    hits.parent.mkdir(parents=True)
    hits.write_text(HHR.format(query=sequence, hit=sequence))
    with caplog.at_level("INFO"):
        assert len(read_chain(DataFolder(tmp_path), "1ubq_A", CONFIG).templates.aatype) == 0
    assert "1ubq_A: 1ubq_A is no template: it is the query's own entry" in caplog.text
    hits.write_text(HHR.format(query="W" * 76, hit=sequence))
    with pytest.raises(BadDataError, match=r"hits.hhr: the query of the search is another") as bad:
        read_chain(DataFolder(tmp_path), "1ubq_A", CONFIG)
    assert "search with the chain's whole sequence" in bad.value.mend


def test_a_bundled_chain_as_the_template_of_itself(bundled):
    folder = DataFolder(bundled)
    sequence = folder.chain("1ubq_A").sequence
    text = HHR.format(query=sequence, hit=sequence)
    hits = parse_hhr(text, source="test.hhr")

    def read(entry_id):
        return template_structure(folder, entry_id)

    # A longer query, so that the hit is a fragment and no duplicate.
    protein = sequence_protein("q", "GSHMGSHM" + sequence, CONFIG, hits=hits, read=read)
    assert len(protein.templates.aatype) == 1
    features = evaluation_example(protein, CONFIG).features
    assert features["template_aatype"][0, :8, 0].tolist() == [MSA_GAP] * 8
    assert np.array_equal(features["template_aatype"][0, 8:, 0], features["aatype"][8:, 0])
    assert features["template_torsion_angles_mask"][0, 9:-1, :3, 0].all()
    assert features["template_pseudo_beta_mask"][0, :, 0].tolist() == [0.0] * 8 + [1.0] * 76
    assert sequence_protein("q", sequence, CONFIG, hits=hits, read=read).templates.mask.size == 0


HHR = """Query         q
Match_columns 76

 No Hit                             Prob E-value P-value  Score    SS Cols Query HMM  Template HMM
  1 1UBQ_A UBIQUITIN               100.0 3.8E-67 4.6E-72  433.5   0.0   76    1-76      1-76  (76)

No 1
>1UBQ_A UBIQUITIN
Probab=100.00  E-value=3.8e-67  Score=433.46  Aligned_cols=76  Identities=100%  Sum_probs=75.5

Q q                 1 {query}   76 (76)
T 1UBQ_A            1 {hit}   76 (76)
"""


@pytest.mark.parametrize("sequence", ["", "arnd", "AR-D", "AR D", "ÅR"])
def test_a_sequence_is_capitals(sequence):
    with pytest.raises(BadDataError, match="give one-letter codes in capitals"):
        sequence_protein("q", sequence, CONFIG)
