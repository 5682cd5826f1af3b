"""alphafold."""
