"""A program of its own, since a process divides its processor only once: a SavedModel on the second of two devices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kaname.runtimes import tensorflow
from kaname.signature import OutputSpec, Signature


class Watched:
    """A signature that notes where what it takes and gives lies."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.structured_input_signature = function.structured_input_signature
        self.structured_outputs = function.structured_outputs
        self.seen: set[str] = set()

    def __call__(self, **given: Any) -> Any:
        """Its answer."""
        found = self._function(**given)
        self.seen |= {place_of(one) for one in [*given.values(), *found.values()]}
        return found


def place_of(one: Any) -> str:
    """The device of a tensor or a variable."""
    return str(one.device).rpartition("/device:")[2]


def main(folder: Path) -> None:
    """Load and run it there."""
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    tensorflow._PLACES["cuda"] = "/CPU:1"
    loaded, function = tensorflow.load(folder, device="cuda")
    inputs, outputs = tensorflow.describe(function)
    specs = tuple(OutputSpec(name=one.name, datatype=one.datatype, shape=one.shape) for one in outputs)
    watched = Watched(function)
    signature = Signature(task="other", inputs=inputs, outputs=specs)
    tensorflow.TensorFlowSession(loaded, watched, signature, "cuda").run((np.ones((3, 4), np.float32),))
    variables = {place_of(one) for one in loaded.variables}
    sys.stdout.write(f"{sorted(variables)} {sorted(watched.seen)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
