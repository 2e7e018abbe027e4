"""``from_torch`` and ``from_state_dict``: PyTorch's numbers, or a refusal by name."""

import subprocess
import sys

import numpy as np
import pytest

import fastnet
from tests.models import ARCHITECTURES, BY_LABEL, DTYPES, close


def state(architecture, dtype, names=None):
    """A state dictionary of arrays: weights of shape (fan_out, fan_in)."""
    found = {}
    names = names or [str(2 * i) for i in range(len(architecture.activations))]
    for name, (W, b) in zip(names, architecture.weights(dtype), strict=True):
        found[f"{name}.weight"], found[f"{name}.bias"] = W.T, b
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.label)
def test_state_of_arrays(architecture, dtype):
    net = fastnet.from_state_dict(state(architecture, dtype), architecture.activations)
    want, x = architecture.build(dtype), architecture.x(dtype)
    np.testing.assert_array_equal(net.predict(x), want.predict(x), strict=True)
    assert [type(layer) for layer in net.layers] == [type(layer) for layer in want.layers]
    for got, held in zip(net.params, want.params, strict=True):
        assert got.flags.c_contiguous
        assert not np.shares_memory(got, held)


@pytest.mark.parametrize(
    ("names", "shuffled"),
    [
        (["0", "2", "10"], ["10", "0", "2"]),
        (["net.0", "net.2", "net.10"], ["net.0", "net.10", "net.2"]),
        (["module.0.0", "module.0.9", "module.1.0"], ["module.0.9", "module.1.0", "module.0.0"]),
        (["0.0", "0.2", "1"], ["1", "0.2", "0.0"]),
        (["fc1", "fc2", "fc10"], ["fc10", "fc1", "fc2"]),
        (["input", "hidden", "head"], ["input", "hidden", "head"]),
        (["fc2", "fc1", "head"], ["fc2", "fc1", "head"]),
    ],
    ids=str,
)
def test_order_of_names(names, shuffled):
    """By their numbers, whatever the order of the mapping; by the mapping where words differ."""
    architecture = BY_LABEL["square"]
    known = state(architecture, "float64", names)
    mapping = {f"{name}.{part}": known[f"{name}.{part}"] for name in shuffled for part in ("bias", "weight")}
    x = architecture.x("float64")
    net = fastnet.from_state_dict(mapping, architecture.activations)
    np.testing.assert_array_equal(net.predict(x), architecture.build("float64").predict(x))


def test_one_name_for_the_hidden_layers():
    net = fastnet.from_state_dict(state(BY_LABEL["deep"], "float32"), "relu")
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == ["Affine", "ReLU"] * 3 + ["Affine"]
    alone = fastnet.from_state_dict({"weight": np.ones((1, 2))}, "tanh")
    assert [type(layer).__name__ for layer in alone.layers] == ["Affine"]
    np.testing.assert_array_equal(alone.params[1], [0.0])


GOOD = {"0.weight": np.ones((3, 2)), "0.bias": np.ones(3)}


@pytest.mark.parametrize(
    ("changes", "activations", "text"),
    [
        ({"1.running_mean": np.ones(3)}, "relu", "1.running_mean"),
        ({"1.bias": np.ones(3)}, "relu", "1.weight"),
        ({"1.weight": np.ones(3)}, "relu", r"1.weight has shape \(3,\)"),
        ({"1.weight": np.ones((3, 2, 3, 3))}, "relu", r"\(3, 2, 3, 3\)"),
        ({"1.weight": np.ones((3, 4))}, "relu", "fan_in 4 follows one of fan_out 3"),
        ({"0.bias": np.ones(2)}, "relu", r"bias of shape \(2,\)"),
        ({"0.bias": np.ones(3, "float32")}, "relu", "bias of dtype float32"),
        ({"0.weight": np.ones((3, 2), "float16")}, "relu", "float16"),
        ({"0.weight": np.ones((3, 2), int)}, "relu", "int64"),
        ({}, ["relu", "relu"], "2 activations for 1"),
        ({}, ["gelu"], "'gelu' is none of identity, sigmoid"),
    ],
    ids=str,
)
def test_refused_states(changes, activations, text):
    with pytest.raises(ValueError, match=text):
        fastnet.from_state_dict({**GOOD, **changes}, activations)
    with pytest.raises(ValueError, match="without weights"):
        fastnet.from_state_dict({}, "relu")


# with the real PyTorch


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def module_of(torch, architecture, dtype):
    """The architecture as a Sequential of PyTorch, with the same weights."""
    nn = torch.nn
    functions = {"sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "relu": nn.ReLU(), "softmax": nn.Softmax(dim=1)}
    layers = []
    for (W, b), name in zip(architecture.weights(dtype), architecture.activations, strict=True):
        linear = nn.Linear(*W.shape, dtype=getattr(torch, dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, functions.get(name, nn.Identity())]
    return nn.Sequential(*layers)


def run(torch, module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.label)
def test_module_and_its_state(torch, architecture, dtype):
    module, x = module_of(torch, architecture, dtype), architecture.x(dtype)
    net = fastnet.from_torch(module)
    close(net.predict(x), run(torch, module, x), dtype)
    again = fastnet.from_state_dict(module.state_dict(), architecture.activations)
    np.testing.assert_array_equal(again.predict(x), net.predict(x))


def test_everything_at_once(torch):
    """Nested, without bias, with layers that do nothing, an image in front."""
    nn = torch.nn

    class Head(nn.Sequential):
        """A Sequential with a name, as users write them."""

    module = nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(12, 9, bias=False), nn.ReLU(), nn.Dropout(0.5)),
        nn.Identity(),
        nn.Sequential(nn.Linear(9, 5), nn.Sequential(nn.Tanh())),
        Head(nn.Linear(5, 5), nn.Sigmoid(), nn.Linear(5, 4), nn.Softmax(dim=-1)),
    ).eval()
    image = np.random.default_rng(0).standard_normal((20, 3, 4)).astype("float32")
    net = fastnet.from_torch(module)
    close(net.predict(image.reshape(20, -1)), run(torch, module, image), "float32")
    assert len(net.layers) == 8


def test_a_layer_alone_and_many_layers(torch):
    nn = torch.nn
    linear = nn.Linear(3, 2)
    x = np.ones((4, 3), "float32")
    close(fastnet.from_torch(linear).predict(x), run(torch, linear, x), "float32")
    deep = nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(3, 3), nn.Tanh())])
    close(fastnet.from_torch(deep).predict(x), run(torch, deep, x), "float32")
    close(
        fastnet.from_state_dict(deep.state_dict(), ["tanh"] * 12).predict(x), run(torch, deep, x), "float32"
    )
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    close(fastnet.from_torch(normed).predict(x), run(torch, normed, x), "float32")


def test_training_on_changes_nothing(torch):
    module = module_of(torch, BY_LABEL["sigmoid"], "float32")
    x = BY_LABEL["sigmoid"].x("float32")
    nets = fastnet.from_torch(module), fastnet.from_state_dict(module.state_dict(), ["sigmoid", "identity"])
    before = [net.predict(x) for net in nets]
    with torch.no_grad():
        for weights in module.parameters():
            weights.mul_(2)
    for net, result in zip(nets, before, strict=True):
        np.testing.assert_array_equal(net.predict(x), result)


def test_refused_by_name(torch):
    nn = torch.nn

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2)

        def forward(self, x):
            return self.a(x)

    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    hooked = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda module, x, y: 2 * y)
    replaced = nn.Linear(2, 2)
    replaced.forward = lambda x: x
    for module, error, text in [
        (nn.Conv2d(1, 1, 3), TypeError, "Conv2d"),
        (nn.BatchNorm1d(2), TypeError, "BatchNorm1d"),
        (nn.LeakyReLU(), TypeError, "LeakyReLU"),
        (nn.GELU(), TypeError, "GELU"),
        (nn.LogSoftmax(dim=1), TypeError, "LogSoftmax"),
        (nn.LazyLinear(2), ValueError, "LazyLinear has forward pre hooks"),
        (nn.ModuleList([nn.Linear(2, 2)]), TypeError, "ModuleList"),
        (Own(), TypeError, "Own; from_state_dict"),
        (Residual(nn.Linear(2, 2)), TypeError, "Residual"),
        (replaced, TypeError, "Linear"),
        (hooked, ValueError, "forward hooks"),
        (nn.Dropout(), ValueError, r"eval\(\)"),
        (nn.Softmax(dim=0), ValueError, r"dim=0"),
        (nn.Softmax(), ValueError, "dim=None"),
        (nn.Flatten(0), ValueError, r"Flatten\(0, -1\)"),
        (nn.Linear(2, 2, dtype=torch.float16), ValueError, "float16"),
        (nn.Linear(2, 2, dtype=torch.bfloat16), ValueError, "bfloat16"),
        (nn.Linear(2, 2, device="meta"), ValueError, "meta"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3)), ValueError, "fan_in 2 follows one of fan_out 3"),
    ]:
        for at in ("module", r"module\.1"):
            with pytest.raises(error, match=text) as caught:
                fastnet.from_torch(module if at == "module" else nn.Sequential(nn.Identity(), module))
        assert "follows" in text or "module.1" in str(caught.value), "where it is"
    for value in (None, 5, np.ones(3), fastnet.ReLU()):
        with pytest.raises(TypeError, match=type(value).__name__):
            fastnet.from_torch(value)


def test_pytorch_is_not_imported():
    code = (
        "import sys, numpy as np, fastnet\n"
        "net = fastnet.from_state_dict({'0.weight': np.ones((1, 2))}, 'relu')\n"
        "print(net.predict(np.array([1.0, 2.0]))[0], 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3.0", "False"]
