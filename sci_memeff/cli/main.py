"""The console command `sci-memeff`."""

from __future__ import annotations

import typer

from sci_memeff.cli.data import app as data
from sci_memeff.cli.predict import EPILOG as PREDICT_EPILOG
from sci_memeff.cli.predict import predict
from sci_memeff.cli.train import EPILOG as TRAIN_EPILOG
from sci_memeff.cli.train import train

__all__ = ["app"]

EPILOG = """
**Where to begin**

    sci-memeff train --preset demo --data data      (the five bundled proteins, minutes)

    sci-memeff data check DIR                       (is one's own folder fit to train on?)

An error is one message that says how to mend it, and exit code 2. docs/training.md and docs/data.md
hold the rest.
"""

app = typer.Typer(
    name="sci-memeff",
    help="Train and run AlphaFold 2. Each command has its own --help, with examples.",
    epilog=EPILOG,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command(epilog=TRAIN_EPILOG)(train)
app.command(epilog=PREDICT_EPILOG)(predict)
app.add_typer(data, name="data")
