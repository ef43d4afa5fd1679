"""Whether a folder lies on a file system of this machine: memory-mapped stores need one."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from kaname.errors import InvalidInput

NETWORK = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x73757245: "coda",
    0x47504653: "gpfs",
    0x0BD00BD0: "lustre",
    0x01161970: "gfs2",
    0x7461636F: "ocfs2",
}
"""`f_type` of statfs(2) for file systems whose locks or mappings are not those of one machine (linux/magic.h)."""

_STATFS_BYTES = 256
"""More than any Linux architecture's `struct statfs`, whose first word is `f_type`."""


def filesystem_type(path: Path) -> int:
    """`f_type` of the file system that holds `path`, an existing file or folder. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def require_local(path: Path, f_type: int | None = None) -> None:
    """Raises InvalidInput when `path` lies on a network file system; `f_type` is found out when not given."""
    kind = NETWORK.get(filesystem_type(path) if f_type is None else f_type)
    if kind is not None:
        raise InvalidInput(
            "an embedded store maps its files into memory and cannot live on a network file system",
            where=str(path),
            found=kind,
            expected="a folder on a disk of this machine",
        )
