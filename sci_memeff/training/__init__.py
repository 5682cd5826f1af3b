"""Training: presets, the loop, checkpoints, and what a run leaves behind.

from sci_memeff.training import preset, train_alphafold
train_alphafold(preset("demo"), Path("data"), Path("runs/demo"))
"""

from sci_memeff.training.alphafold import train_alphafold
from sci_memeff.training.config import OptimizerConfig, RunConfig
from sci_memeff.training.folder import RunFolder, Summary
from sci_memeff.training.loop import Fitted, Parts, fit
from sci_memeff.training.presets import PRESETS, Preset, preset
from sci_memeff.training.reports import ProteinScore, Reporter, Silent, StepReport
from sci_memeff.training.settings import read_settings

__all__ = [
    "PRESETS",
    "Fitted",
    "OptimizerConfig",
    "Parts",
    "Preset",
    "ProteinScore",
    "Reporter",
    "RunConfig",
    "RunFolder",
    "Silent",
    "StepReport",
    "Summary",
    "fit",
    "preset",
    "read_settings",
    "train_alphafold",
]
