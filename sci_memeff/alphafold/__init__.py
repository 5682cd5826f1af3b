"""AlphaFold 2's monomer network, its losses and its weights (Jumper et al. 2021)."""
