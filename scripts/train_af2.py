"""Train AlphaFold 2: `python scripts/train_af2.py --preset demo --data data`. See --help."""

import typer

from sci_memeff.cli.train import EPILOG, train

if __name__ == "__main__":
    app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)
    app.command(epilog=EPILOG)(train)
    app()
