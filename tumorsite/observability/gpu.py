"""Memory of NVIDIA's GPUs, asked of the driver's own library (NVML) where there is one.

Source of names and the structure: NVIDIA's NVML API reference, `nvmlDeviceGetMemoryInfo`.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


@functools.cache
def _library(name: str) -> Any:
    """The driver's library, ready to be asked; None where there is no such driver."""
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return None
    return library if library.nvmlInit_v2() == _SUCCESS else None


def gpu_memory(name: str = LIBRARY) -> dict[str, int]:
    """Bytes by kind (total, used, free), over all GPUs that this process may see; empty without."""
    library = _library(name)
    if library is None:
        return {}
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS:
        return {}
    sizes = {"total": 0, "used": 0, "free": 0}
    for index in range(count.value):
        device, memory = ctypes.c_void_p(), _Memory()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != _SUCCESS:
            continue
        if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != _SUCCESS:
            continue
        for kind in sizes:
            sizes[kind] += int(getattr(memory, kind))
    return sizes if count.value else {}
