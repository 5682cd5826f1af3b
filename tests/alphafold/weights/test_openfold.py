from __future__ import annotations

import pytest
import torch

from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.alphafold.weights import load_openfold, load_weights, save_openfold

from .files import CONFIG, Trap, holds, other_weights, prefixed, refuses


def old_name(name: str) -> str:
    """The name of a tensor before OpenFold v2."""
    for new, old in (
        ("template_embedder.template_single_embedder", "template_angle_embedder"),
        ("template_embedder.", ""),
        (".linear_q_points.linear.", ".linear_q_points."),
        (".linear_kv_points.linear.", ".linear_kv_points."),
    ):
        name = name.replace(new, old)
    if ".blocks." in name and not name.startswith("template"):
        for part in ("msa_transition", "outer_product_mean"):
            name = name.replace(f".{part}.", f".core.{part}.")
        name = name.replace(".pair_stack.", ".core.")
    return name


ZEROS = {name: torch.zeros(1) for name in ("evoformer.linear.weight",)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: prefixed("model.", w),
        lambda w: prefixed("module.model.", w),
        lambda w: {"state_dict": prefixed("model.", w), "epoch": 3, "callbacks": {}},
        lambda w: {"module": prefixed("module.model.", w), "global_steps": 7},
        lambda w: {"ema": {"params": w, "decay": 0.999}, "state_dict": prefixed("model.", ZEROS)},
        lambda w: {old_name(name): tensor for name, tensor in w.items()},
        lambda w: {"state_dict": {f"model.{old_name(name)}": t for name, t in w.items()}},
    ],
    ids=["plain", "model", "module", "lightning", "deepspeed", "ema", "v1", "v1 in lightning"],
)
def test_openfold_in_every_wrapping(tmp_path, model, wrap):
    weights = other_weights()
    torch.save(wrap(weights), tmp_path / "p.pt")
    assert not holds(model, weights)
    load_openfold(model, tmp_path / "p.pt")
    assert holds(model, weights)


def test_old_names_are_old():
    names = [old_name(name) for name in AlphaFold(CONFIG).state_dict()]
    for name in (
        "template_angle_embedder.linear_1.weight",
        "template_pair_embedder.linear.weight",
        "template_pair_stack.blocks.0.tri_att_end.mha.linear_o.bias",
        "template_pointwise_att.mha.linear_q.weight",
        "evoformer.blocks.0.core.msa_transition.linear_1.bias",
        "evoformer.blocks.1.core.tri_mul_in.linear_a_p.weight",
        "extra_msa_stack.blocks.2.core.pair_transition.layer_norm.bias",
        "extra_msa_stack.blocks.0.core.outer_product_mean.linear_out.weight",
        "structure_module.ipa.linear_kv_points.weight",
    ):
        assert name in names
    assert len(set(names)) == len(names)


def test_openfold_of_another_kind_is_named(tmp_path, model):
    rest = {k: v for k, v in other_weights().items() if not k.startswith("template_embedder.")}
    torch.save(rest, tmp_path / "p.pt")
    refuses(load_openfold, model, tmp_path / "p.pt", match="(?s)129 tensors missing.*model_3_ptm")


def test_half_precision_loads_into_full(tmp_path, model):
    weights = {name: tensor.bfloat16() for name, tensor in other_weights().items()}
    torch.save(weights, tmp_path / "p.pt")
    load_openfold(model, tmp_path / "p.pt")
    assert holds(model, {name: tensor.float() for name, tensor in weights.items()})
    torch.save({name: tensor.long() for name, tensor in weights.items()}, tmp_path / "p.pt")
    refuses(load_openfold, model, tmp_path / "p.pt", match="tensors not of floating point")


def test_python_objects_are_refused(tmp_path, model):
    torch.save({"ema": {"params": other_weights()}, "hyper_parameters": Trap()}, tmp_path / "p.pt")
    refuses(
        load_openfold,
        model,
        tmp_path / "p.pt",
        match=r"(?s)holds Python objects beside tensors.*mend: .*\['ema'\]\['params'\]",
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (torch.zeros(3), "holds Tensor and no tensors by name"),
        ({}, "no tensors by name"),
        ({"epoch": 3, "lr": 0.1}, r"2 entries are no tensors by name \('epoch', 'lr'\)"),
        ({3: torch.zeros(1)}, r"1 entries are no tensors by name \(3\)"),
    ],
)
def test_content_of_another_kind_is_refused(tmp_path, model, content, match):
    torch.save(content, tmp_path / "p.pt")
    refuses(load_openfold, model, tmp_path / "p.pt", match=match)


def test_saved_weights_load_again(tmp_path, model):
    other = AlphaFold(CONFIG)
    other.load_state_dict(other_weights())
    path = tmp_path / "p.pt"
    save_openfold(AlphaFold(CONFIG), path)
    save_openfold(other, path)
    assert [p.name for p in tmp_path.iterdir()] == ["p.pt"]
    plain = torch.load(path, weights_only=True)
    assert list(plain) == list(model.state_dict())
    load_weights(model, path)
    assert holds(model, other_weights())


def test_a_failed_save_leaves_the_old_file(tmp_path, model, monkeypatch):
    path = tmp_path / "p.pt"
    save_openfold(model, path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        save_openfold(model, path)
    assert path.read_bytes() == before
