from __future__ import annotations

import logging
import pickle
from importlib.util import find_spec
from typing import get_args

import pytest
import torch

from sci_memeff._types import Attend
from sci_memeff.errors import BadConfigError, MissingPackageError
from sci_memeff.kernels import Form, attend, attention
from sci_memeff.kernels.forms import automatic, best_on

EVERYWHERE: list[Form] = ["reference", "streaming", "blocked", "auto"]


@pytest.mark.parametrize("form", EVERYWHERE)
def test_each_is_one_attention_that_compares_and_pickles(form: Form):
    assert isinstance(attend(form), Attend)
    assert attend(form) == attend(form)
    assert pickle.loads(pickle.dumps(attend(form))) == attend(form)
    assert len({attend(one) for one in EVERYWHERE}) == len(EVERYWHERE)
    q, k, v, bias = torch.randn(2, 3, 5, 4), *torch.randn(2, 2, 3, 6, 4), torch.randn(3, 5, 6)
    torch.testing.assert_close(attend(form)(q, k, v, (bias,)), attention(q, k, v, (bias,)))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(BadConfigError, match="there is no attention 'flash'") as caught:
        attend("flash")
    assert all(repr(form) in caught.value.mend for form in get_args(Form))


@pytest.mark.parametrize(
    ("form", "package"), [("triton", "triton"), ("cuequivariance", "cuequivariance_torch")]
)
def test_an_absent_package_is_named_with_how_to_install_it(
    form: Form, package: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sci_memeff.kernels.forms.find_spec", lambda _name: None)
    with pytest.raises(MissingPackageError, match=f"'{form}' needs {package}") as caught:
        attend(form)
    assert caught.value.mend.startswith("pip install ")


def test_triton_is_attention_like_the_others_where_it_is_installed():
    pytest.importorskip("triton")
    assert attend("triton").__name__ == "triton_attention"  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(attend("triton"))) == attend("triton")


def test_auto_says_once_what_it_chose(caplog: pytest.LogCaptureFixture):
    best_on.cache_clear()
    q, k, v = torch.randn(3, 2, 5, 4)
    with caplog.at_level(logging.INFO, logger="sci_memeff"):
        for _ in range(2):
            automatic(q, k, v)
    assert [record.getMessage() for record in caplog.records] == ["attention on cpu: streaming"]


def test_auto_takes_triton_on_a_gpu_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    for found, form in ((find_spec("torch"), "triton"), (None, "streaming")):
        best_on.cache_clear()
        monkeypatch.setattr("sci_memeff.kernels.forms.find_spec", lambda _, found=found: found)
        assert best_on("cuda") == form
    best_on.cache_clear()
