"""Libraries that only those who train and evaluate have, imported where they are needed."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from mltasks.engines import ModelError

_ADVICE = "is not installed: pip install -r requirements/train.txt"


def need(*names: str) -> None:
    """Say that a library is missing before hours of work, not after.

    Raises:
        ModelError: one of them is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise ModelError(f"{name} {_ADVICE}")


def keras_module() -> Any:
    """Keras on TensorFlow.

    Raises:
        ModelError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        import keras
    except ImportError as error:
        raise ModelError(f"Keras {_ADVICE}") from error
    return keras


def tensorflow_module() -> Any:
    """TensorFlow.

    Raises:
        ModelError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ModelError(f"TensorFlow {_ADVICE}") from error
    return tf
