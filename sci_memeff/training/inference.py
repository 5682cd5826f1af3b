"""A trained network for predictions: its weights, and the settings they were trained under."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from sci_memeff.alphafold.config import model_config
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.data.config import DataConfig
from sci_memeff.errors import BadConfigError
from sci_memeff.training.checkpoint import read
from sci_memeff.training.presets import Preset, preset
from sci_memeff.training.settings import override
from sci_memeff.training.weights import checkpoint_of, load_any

__all__ = ["load_model"]

# Supplement, Table 5: what the second and the fifth were trained on; the others have seen more.
_FEW_EXTRA_ROWS = {"model_2": 1024, "model_5": 1024}


def load_model(
    weights: Path, published: str | None, warn: Callable[[str], None]
) -> tuple[AlphaFold, DataConfig]:
    """The network in evaluation mode, and the sizes of its features.

    A run folder or checkpoint knows its own; a published file is taken as that of the model
    `published` (None: "model_1_ptm"), with the features it was trained on. Errors: those of the
    weights, and BadConfigError for an unknown model or one that is named beside a run.
    """
    if weights.is_dir():
        if published is not None:
            raise BadConfigError(
                f"{published} was named, but {weights} is a run, which knows its own network",
                mend="leave out the model, or give a published file of weights",
            )
        weights = checkpoint_of(weights, warn)
        recorded = read(weights).settings
        known = {
            field.name: recorded[field.name] for field in fields(Preset) if field.name in recorded
        }
        settings = override(preset("demo"), known, source=str(weights))
        network, data = settings.model, settings.data
    else:
        published = published or "model_1_ptm"
        network, data = model_config(published), _published_sizes(published)
    model = AlphaFold(network)
    load_any(model, weights, warn)
    return model.eval(), data


def _published_sizes(name: str) -> DataConfig:
    """Fine-tuning's, but for extra rows, and templates that take up room among the clusters."""
    data = preset("finetuning").data
    templates = model_config(name).templates
    return replace(
        data,
        max_extra_msa=_FEW_EXTRA_ROWS.get(name.removesuffix("_ptm"), data.max_extra_msa),
        max_templates=data.max_templates if templates else 0,
        reduce_clusters_by_templates=templates,
    )
