"""The sizes of the network, as frozen values (Suppl. 1.4–1.9, Table 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sci_memeff.errors import BadConfigError

__all__ = ["ModelConfig", "model_config"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Widths and counts of an AlphaFold 2 monomer network; the defaults are model_1_ptm's."""

    c_m: int = 256
    c_z: int = 128
    c_s: int = 384
    c_e: int = 64  # extra MSA
    c_t: int = 64  # template pair
    num_evoformer_blocks: int = 48
    num_extra_msa_blocks: int = 4
    num_template_blocks: int = 2
    num_structure_iterations: int = 8
    num_heads_msa: int = 8
    num_heads_pair: int = 4
    num_heads_ipa: int = 12
    c_hidden_msa: int = 32
    c_hidden_extra_msa: int = 8
    c_hidden_opm: int = 32
    c_hidden_triangle_multiplication: int = 128
    c_hidden_triangle_attention: int = 32
    c_hidden_template_attention: int = 16
    c_hidden_template_multiplication: int = 64
    c_hidden_ipa: int = 16
    c_resnet: int = 128
    c_plddt: int = 128
    num_query_points: int = 4
    num_value_points: int = 8
    num_resnet_blocks: int = 2
    num_transition_layers: int = 1
    transition_factor: int = 4
    template_transition_factor: int = 2
    msa_dropout: float = 0.15
    pair_dropout: float = 0.25
    structure_dropout: float = 0.1
    max_relative_position: int = 32
    templates: bool = True
    template_torsions: bool = True
    template_unit_vectors: bool = False
    ptm: bool = True

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool):
                continue
            is_rate = name.endswith("dropout")
            if is_rate and not 0 <= value < 1:
                raise BadConfigError(
                    f"model setting {name} is {value}", mend="give a rate from 0 up to, not with, 1"
                )
            least = 0 if name.endswith("_blocks") else 1
            if not is_rate and value < least:
                raise BadConfigError(
                    f"model setting {name} is {value}", mend=f"give a whole number from {least} on"
                )


def model_config(name: str) -> ModelConfig:
    """The published network `model_1` … `model_5`, or with PAE head `model_1_ptm` … `model_5_ptm`.

    Models 1 and 2 see templates, 3 to 5 do not (Table 5). Within those two groups the networks
    are alike; they differ in how much MSA they were fed, which is data and not network.
    """
    names = [f"model_{i}{suffix}" for suffix in ("", "_ptm") for i in range(1, 6)]
    if name not in names:
        raise BadConfigError(
            f"there is no published model {name!r}", mend=f"choose one of {', '.join(names)}"
        )
    templates = name.removesuffix("_ptm") in ("model_1", "model_2")
    return replace(ModelConfig(), templates=templates, ptm=name.endswith("_ptm"))
