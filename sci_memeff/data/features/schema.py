"""The features of an example: what each axis is.

Those with an axis of MSA rows are drawn anew for each pass; the others serve every pass. Names and
meanings are OpenFold v2's, so dictionaries go either way.
"""

from __future__ import annotations

__all__ = ["AXES", "CLUSTERS", "EXTRA", "INTEGERS", "RESIDUES", "TEMPLATES"]

RESIDUES = "residues"
CLUSTERS = "MSA clusters"
EXTRA = "extra MSA rows"
TEMPLATES = "templates"

AXES: dict[str, tuple[str | int, ...]] = {
    # The sequence.
    "aatype": (RESIDUES,),
    "residue_index": (RESIDUES,),
    "seq_mask": (RESIDUES,),
    "seq_length": (),
    "target_feat": (RESIDUES, 22),
    "atom14_atom_exists": (RESIDUES, 14),
    "atom37_atom_exists": (RESIDUES, 37),
    "residx_atom14_to_atom37": (RESIDUES, 14),
    "residx_atom37_to_atom14": (RESIDUES, 37),
    "no_recycling_iters": (),
    # The alignment.
    "msa_feat": (CLUSTERS, RESIDUES, 49),
    "msa_mask": (CLUSTERS, RESIDUES),
    "msa_row_mask": (CLUSTERS,),
    "true_msa": (CLUSTERS, RESIDUES),
    "bert_mask": (CLUSTERS, RESIDUES),
    "extra_msa": (EXTRA, RESIDUES),
    "extra_msa_mask": (EXTRA, RESIDUES),
    "extra_msa_row_mask": (EXTRA,),
    "extra_has_deletion": (EXTRA, RESIDUES),
    "extra_deletion_value": (EXTRA, RESIDUES),
    # Templates.
    "template_mask": (TEMPLATES,),
    "template_aatype": (TEMPLATES, RESIDUES),
    "template_all_atom_positions": (TEMPLATES, RESIDUES, 37, 3),
    "template_all_atom_mask": (TEMPLATES, RESIDUES, 37),
    "template_sum_probs": (TEMPLATES, 1),
    "template_pseudo_beta": (TEMPLATES, RESIDUES, 3),
    "template_pseudo_beta_mask": (TEMPLATES, RESIDUES),
    "template_torsion_angles_sin_cos": (TEMPLATES, RESIDUES, 7, 2),
    "template_alt_torsion_angles_sin_cos": (TEMPLATES, RESIDUES, 7, 2),
    "template_torsion_angles_mask": (TEMPLATES, RESIDUES, 7),
    # The structure to learn.
    "all_atom_positions": (RESIDUES, 37, 3),
    "all_atom_mask": (RESIDUES, 37),
    "atom14_gt_positions": (RESIDUES, 14, 3),
    "atom14_gt_exists": (RESIDUES, 14),
    "atom14_alt_gt_positions": (RESIDUES, 14, 3),
    "atom14_alt_gt_exists": (RESIDUES, 14),
    "atom14_atom_is_ambiguous": (RESIDUES, 14),
    "rigidgroups_gt_frames": (RESIDUES, 8, 4, 4),
    "rigidgroups_alt_gt_frames": (RESIDUES, 8, 4, 4),
    "rigidgroups_gt_exists": (RESIDUES, 8),
    "rigidgroups_group_exists": (RESIDUES, 8),
    "rigidgroups_group_is_ambiguous": (RESIDUES, 8),
    "backbone_rigid_tensor": (RESIDUES, 4, 4),
    "backbone_rigid_mask": (RESIDUES,),
    "chi_angles_sin_cos": (RESIDUES, 4, 2),
    "chi_mask": (RESIDUES, 4),
    "pseudo_beta": (RESIDUES, 3),
    "pseudo_beta_mask": (RESIDUES,),
    "resolution": (),
    "is_distillation": (),
    "use_clamped_fape": (),
}
"""Axes of each feature of one example; a number is the axis' own size."""

INTEGERS = frozenset(
    {
        "aatype",
        "residue_index",
        "seq_length",
        "residx_atom14_to_atom37",
        "residx_atom37_to_atom14",
        "no_recycling_iters",
        "true_msa",
        "extra_msa",
        "template_aatype",
    }
)
"""Features that are int64; all others are float32."""
