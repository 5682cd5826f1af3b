"""Which bytes are counted, and from when to when."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor

from sci_memeff.measure import measure

KB = 1024

# What lives in the process and is nobody's business here: neither fakes nor storages to be had.
LINGERING = (torch.eye(3).to_sparse(), nn.UninitializedParameter(), nn.LazyLinear(2))


def kilobytes(count: int) -> torch.Tensor:
    return torch.zeros(count, KB, dtype=torch.uint8)


def live(measured) -> int:
    """Bytes alive now: those of the last tick, of what was not freed."""
    history = measured._now
    return int(history.sizes[history.deaths == history.num_ticks].sum())


@pytest.fixture(params=["real", "fake"])
def _on(request):
    if request.param == "real":
        yield
    else:
        with FakeTensorMode():
            yield


pytestmark = pytest.mark.usefixtures("_on")


def test_views_hold_one_storage_until_the_last_is_gone():
    with measure() as bytes_:
        x = kilobytes(8)
        view = x[1:3].t()
        assert live(bytes_) == 8 * KB
        del x
        assert live(bytes_) == 8 * KB
        del view
        assert live(bytes_) == 0
    assert bytes_.peak == 8 * KB


def test_writing_in_place_and_into_an_output_makes_nothing():
    with measure() as bytes_:
        x = kilobytes(4)
        x.add_(1).mul_(2)
        torch.add(x, 1, out=x)
        x[0] = 3
        x.set_(x[1:])
    assert bytes_.peak <= 4 * KB + 8  # the number 3


def test_resizing_counts_from_then_on():
    with measure() as bytes_:
        x = torch.empty(0, dtype=torch.uint8)
        assert live(bytes_) == 0
        x.resize_(2 * KB)
        assert live(bytes_) == 2 * KB
        x.resize_(5 * KB)
        assert live(bytes_) == 5 * KB
        x.untyped_storage().resize_(KB)
        assert live(bytes_) == KB
        x.untyped_storage().resize_(0)
        assert live(bytes_) == 0
        x.untyped_storage().resize_(3 * KB)
        assert live(bytes_) == 3 * KB
        del x
        assert live(bytes_) == 0
    assert bytes_.peak == 5 * KB


def test_a_storage_that_is_emptied_and_filled_again_is_itself():
    """As FSDP does with the parameters of the layers that are not at work."""
    model = nn.Linear(KB, 1, bias=False)
    with measure(model) as bytes_:
        for _ in range(3):
            model.weight.untyped_storage().resize_(0)
            assert live(bytes_) == 0
            big = kilobytes(10)
            del big
            model.weight.untyped_storage().resize_(4 * KB)
            assert live(bytes_) == 4 * KB
    assert bytes_.peak == 10 * KB
    assert bytes_.by_kind["parameters"].highest == 4 * KB
    assert "resize_" not in vars(torch.UntypedStorage)


def test_expanding_and_tying_count_once():
    with measure() as bytes_:
        small = kilobytes(1)
        wide = small.expand(1000, KB)
        assert live(bytes_) == KB
        copy = wide[:3].contiguous()
        assert live(bytes_) == 4 * KB
    del copy


def test_what_autograd_alone_keeps_is_alive_until_its_backward():
    x = torch.ones(KB, requires_grad=True)
    with measure() as bytes_:
        y = x.exp().sum()  # exp's result is kept and has no other holder
        assert live(bytes_) == 4 * KB + 4 + 4 * KB  # x too
        y.backward()
        assert live(bytes_) == 4 * KB + 4 + 4 * KB  # its gradient instead
        assert bytes_.by_kind["saved"].highest == 4 * KB + 4  # the sum's own gradient, 1, too
        y = x.exp().sum()
        del y
        assert live(bytes_) == 2 * 4 * KB


class Cubed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x * x)
        ctx.extra = x + 1
        return x * x * x

    @staticmethod
    def backward(ctx, gradient):
        (square,) = ctx.saved_tensors
        return 3 * square * gradient


def test_a_custom_function_keeps_what_it_saves_and_its_attributes():
    x = torch.ones(KB, requires_grad=True)
    with measure() as bytes_:
        y = Cubed.apply(x)
        assert live(bytes_) == 4 * 4 * KB  # x, y and two
        y.sum().backward()
        del y
        assert bytes_.peak == 4 * 6 * KB + 8
    assert bytes_.by_kind["gradients"].highest == 4 * KB


def test_packed_tensors_are_gone_and_come_back():
    x = torch.ones(KB, requires_grad=True)
    kept = []

    def pack(tensor):
        kept.append(tensor.to(torch.int8))
        return len(kept) - 1

    def unpack(number):
        return kept[number].float()

    with measure() as bytes_:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = x.exp().sum()
        assert live(bytes_) == 4 * KB + KB + 4
        y.backward()
    assert bytes_.by_phase["backward"].peak >= 4 * 3 * KB


def test_inputs_count_from_the_beginning_and_others_from_their_birth():
    early, late = kilobytes(1), kilobytes(2)
    with measure() as bytes_:
        kilobytes(16)
        assert bytes_.peak == 16 * KB
        early.sum()
        assert bytes_.peak == 17 * KB
        late.sum()
        assert bytes_.peak == 19 * KB  # both were there when the 16 were
        assert bytes_.by_kind["inputs"].highest == 3 * KB
        fresh = kilobytes(8)
        fresh.sum()
        assert bytes_.peak == 19 * KB
        assert bytes_.peak_over == 16 * KB


def test_what_nothing_uses_does_not_count():
    unused = kilobytes(4)
    with measure() as bytes_:
        kilobytes(1)
    assert bytes_.peak == KB
    assert len(unused) == 4


def test_sparse_tensors_are_their_indices_and_values():
    with measure() as bytes_:
        i, v = torch.tensor([[0, 1], [1, 0]]), torch.ones(2)
        s = torch.sparse_coo_tensor(i, v, (2, 2), check_invariants=False)
        torch.sparse.sum(s)
        del i, v
        assert live(bytes_) >= 2 * 2 * 8 + 2 * 4
        del s
        assert live(bytes_) == 0


def test_in_inference_mode_operations_are_told_apart_too():
    linear = nn.Linear(8, 16)
    with torch.inference_mode(), measure(linear) as bytes_:
        linear(torch.ones(4, 8))
    assert bytes_.flops == 2 * 4 * 8 * 16
    assert bytes_.peak_over == 4 * (4 * 8 + 4 * 16)


def test_function_transforms_work():
    with measure() as bytes_:
        x = torch.ones(KB)
        torch.func.grad(lambda x: (x.sin() ** 2).sum())(x)
        torch.func.vmap(lambda x: x.exp())(x)
    assert bytes_.peak >= 4 * 3 * KB


def test_subclasses_are_counted_by_their_parts():
    with measure() as bytes_:
        x = TwoTensor(torch.ones(KB), torch.ones(KB))
        y = x * x
        assert live(bytes_) == 4 * 4 * KB
        del x
        assert live(bytes_) == 2 * 4 * KB
    assert bytes_.peak == 4 * 4 * KB
    del y


def test_nothing_is_held_afterwards():
    with measure():
        x = kilobytes(1)
    import weakref

    gone = []
    weakref.finalize(x.untyped_storage(), gone.append, True)
    del x
    assert gone == [True]


def test_an_operation_with_a_kernel_of_its_own_is_not_taken_apart():
    # silu's backward has a composite form as well, which other devices run
    x = torch.randn(1000, requires_grad=True)
    y = torch.nn.functional.silu(x)
    with measure() as bytes_:
        (grad,) = torch.autograd.grad(y, x, torch.ones_like(x))
    assert bytes_.peak == 3 * grad.nbytes  # with x, and with what is given for y
