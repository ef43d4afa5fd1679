"""Events as JSON shows them."""

from __future__ import annotations

import msgspec

from kaname.predictions.types import Prediction


def shown(event: Prediction) -> Prediction:
    """The event with texts, which the record keeps as bytes, as text; what is no UTF-8 stays bytes, base64 in JSON."""
    return msgspec.structs.replace(
        event,
        inputs={name: _text(value) for name, value in event.inputs.items()},
        outputs={name: _text(value) for name, value in event.outputs.items()},
    )


def _text(value: object) -> object:
    if isinstance(value, list):
        return [_text(item) for item in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
