"""Training steps of other people's models, one file for each package."""
