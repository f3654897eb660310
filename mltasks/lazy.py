"""TensorFlow and Keras, imported only where they are needed."""

from __future__ import annotations

import os
from typing import Any

from mltasks.engines import ModelError

_ADVICE = "is not installed: pip install -r requirements/train.txt"


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
