"""What the encoder knows of a version."""

from __future__ import annotations

from collections.abc import Iterable

from kaname.call import Target
from kaname.settings import Recording
from kaname.signature import Feature, Signature


class Source:
    """What the encoder knows of a version and of what its owner wants recorded; built once."""

    __slots__ = (
        "batched", "cells_rows", "feature_names", "input_names", "max_bytes", "output_names",
        "redact", "target", "text_columns", "whole",
    )  # fmt: skip

    def __init__(self, target: Target, signature: Signature, recording: Recording) -> None:
        self.target = target
        self.feature_names = tuple(name for name, _ in signature.columns)
        self.input_names = tuple(spec.name for spec in signature.inputs)
        self.output_names = tuple(spec.name for spec in signature.outputs)
        self.redact = frozenset(recording.redact) | self._implied(signature, recording.redact)
        self.max_bytes = recording.max_bytes
        self.cells_rows = max(1, recording.max_bytes // 8)
        self.text_columns = tuple(i for i, f in enumerate(signature.features) if f.datatype == "BYTES")
        self.whole = tuple(_is_whole(feature) for feature in signature.features) or (False,) * len(self.feature_names)
        self.batched = signature.batched

    @staticmethod
    def _implied(signature: Signature, redact: Iterable[str]) -> frozenset[str]:
        """A tensor that holds a redacted feature is redacted too, and the features of a redacted tensor."""
        if signature.layout != "matrix" and not signature.plain_matrix:
            return frozenset()
        names = frozenset(name for name, _ in signature.columns)
        tensor = signature.inputs[0].name
        if tensor in redact:
            return names
        return frozenset({tensor}) if names & frozenset(redact) else frozenset()


def _is_whole(feature: Feature) -> bool:
    return feature.categories is None and not feature.datatype.startswith("FP")
