"""The console command `sci-memeff`."""

from __future__ import annotations

import typer

from sci_memeff.cli.calibrate import EPILOG as CALIBRATE_EPILOG
from sci_memeff.cli.calibrate import calibrate
from sci_memeff.cli.data import app as data
from sci_memeff.cli.measure import EPILOG as MEASURE_EPILOG
from sci_memeff.cli.measure import measure
from sci_memeff.cli.plan import EPILOG as PLAN_EPILOG
from sci_memeff.cli.plan import plan
from sci_memeff.cli.predict import EPILOG as PREDICT_EPILOG
from sci_memeff.cli.predict import predict
from sci_memeff.cli.train import EPILOG as TRAIN_EPILOG
from sci_memeff.cli.train import train
from sci_memeff.cli.verify import EPILOG as VERIFY_EPILOG
from sci_memeff.cli.verify import verify

__all__ = ["app"]

EPILOG = """
**Where to begin**

    sci-memeff train --preset demo --data data      (the five bundled proteins, minutes)

    sci-memeff data check DIR                       (is one's own folder fit to train on?)

    sci-memeff plan --preset finetuning --budget 6GiB      (what fits where, without a device)

An error is one message that says how to mend it, and exit code 2. The rest is in docs/:
training.md, planning.md, data.md.
"""

app = typer.Typer(
    name="sci-memeff",
    help="Train and run AlphaFold 2, and plan any model's memory. Each command has its own --help, "
    "with examples.",
    epilog=EPILOG,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command(epilog=TRAIN_EPILOG)(train)
app.command(epilog=PREDICT_EPILOG)(predict)
app.command(epilog=PLAN_EPILOG)(plan)
app.command(epilog=VERIFY_EPILOG)(verify)
app.command(epilog=MEASURE_EPILOG)(measure)
app.command(epilog=CALIBRATE_EPILOG)(calibrate)
app.add_typer(data, name="data")
