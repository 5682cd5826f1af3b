"""Exact training of AlphaFold-class science models under tight memory.

    model = sci_memeff.AlphaFold(sci_memeff.model_config("model_1_ptm"))
    sci_memeff.load_weights(model, "params_model_1_ptm.npz")

What stands here is the public surface; everything below it may move.
"""

from sci_memeff._apply import apply, describe, restore
from sci_memeff._plan import Plan, Rule
from sci_memeff._prediction import Action, Prediction
from sci_memeff.alphafold.config import ModelConfig, model_config
from sci_memeff.alphafold.losses import AlphaFoldLoss, LossConfig
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.alphafold.weights import load_weights
from sci_memeff.data import DataConfig, DataFolder, TrainingData, make_batch
from sci_memeff.measure import Measured, measure, simulate
from sci_memeff.planning import max_crop, plan
from sci_memeff.planning.gate import gate
from sci_memeff.planning.gated import Gated
from sci_memeff.planning.verified import Verified
from sci_memeff.planning.verify import verify
from sci_memeff.precision import RECIPES, Recipe
from sci_memeff.training import Preset, fit, preset, train_alphafold

__all__ = [
    "RECIPES",
    "Action",
    "AlphaFold",
    "AlphaFoldLoss",
    "DataConfig",
    "DataFolder",
    "Gated",
    "LossConfig",
    "Measured",
    "ModelConfig",
    "Plan",
    "Prediction",
    "Preset",
    "Recipe",
    "Rule",
    "TrainingData",
    "Verified",
    "apply",
    "describe",
    "fit",
    "gate",
    "load_weights",
    "make_batch",
    "max_crop",
    "measure",
    "model_config",
    "plan",
    "preset",
    "restore",
    "simulate",
    "train_alphafold",
    "verify",
]
