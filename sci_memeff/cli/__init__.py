"""The command line: `sci-memeff train | predict | data …`. Nothing here is for import by users."""
