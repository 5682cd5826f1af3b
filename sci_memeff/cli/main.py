"""The console command `sci-memeff`."""

from __future__ import annotations

import typer

from sci_memeff.cli.data import app as data
from sci_memeff.cli.predict import EPILOG as PREDICT_EPILOG
from sci_memeff.cli.predict import predict
from sci_memeff.cli.train import EPILOG as TRAIN_EPILOG
from sci_memeff.cli.train import train

__all__ = ["app"]

app = typer.Typer(
    name="sci-memeff",
    help="Train and run AlphaFold 2. Each command has its own --help, with examples.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command(epilog=TRAIN_EPILOG)(train)
app.command(epilog=PREDICT_EPILOG)(predict)
app.add_typer(data, name="data")
