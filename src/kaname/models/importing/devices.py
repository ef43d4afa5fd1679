"""A model on another device answers as on the processor, or is not taken in."""

from __future__ import annotations

from pathlib import Path

from kaname.errors import InvalidInput
from kaname.models.importing import parity
from kaname.models.importing.types import MAX_SHARE, TOLERANCE, Tensors
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import Session, SessionOptions
from kaname.signature import Signature


def agree_with_cpu(
    session: Session, device: str, runtime: str, folder: Path, signature: Signature, rows: Tensors
) -> None:
    """Compare `session` with one on the processor, on the same rows. Raises InvalidInput where they differ by more than
    a conversion may."""
    plain = open_session(runtime, folder, signature, SessionOptions(device="cpu"))
    try:
        found = parity.compare(plain.run(rows), session.run(rows), signature, TOLERANCE)
    finally:
        plain.close()
    if found.share_beyond > MAX_SHARE:
        raise InvalidInput(
            f"the model answers differently on {device} than on the processor: set inference.device to cpu",
            where="inference.device",
            found=f"largest difference {found.max_difference:.3g}, {found.share_beyond:.3%} of rows beyond",
            expected=f"at most {MAX_SHARE:.3%} of rows beyond {TOLERANCE:g}",
        )
