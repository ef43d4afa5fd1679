"""The memory of the CUDA device that this process uses, as the driver counts it.

Source: https://docs.nvidia.com/cuda/cuda-driver-api/ (`cuDevicePrimaryCtxGetState`, `cuMemGetInfo`). Sessions run on
the first device; `CUDA_VISIBLE_DEVICES` says which that is.
"""

from __future__ import annotations

import ctypes
import os

import msgspec

_DRIVER = "libcuda.so.1"


class DeviceMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A device at one moment, in bytes."""

    used: int
    """By every process."""
    total: int


def look() -> DeviceMemory | None:
    """The device's memory; None where this process uses no device (asking does not begin to use one)."""
    driver = _loaded()
    if driver is None or not _active(driver):
        return None
    context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0):
        return None
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return None
        failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(0)
    return None if failed else DeviceMemory(used=total.value - free.value, total=total.value)


def used_bytes() -> int:
    """Of the device's memory, by every process; 0 where this one uses no device."""
    memory = look()
    return 0 if memory is None else memory.used


def _loaded() -> ctypes.CDLL | None:
    """The driver's library, where something in this process has loaded it."""
    try:
        return ctypes.CDLL(_DRIVER, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None


def _active(driver: ctypes.CDLL) -> bool:
    flags, active = ctypes.c_uint(), ctypes.c_int()
    failed = driver.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active))
    return not failed and bool(active.value)
