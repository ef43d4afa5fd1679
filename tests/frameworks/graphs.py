"""Small TensorFlow modules and Keras models that behave in one particular way each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


def dense() -> Any:
    """Two layers with a softmax."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.layers.Input((4,), name="x"), *layers])


def mixed() -> Any:
    """Numbers and ids in, two named outputs."""
    keras.utils.set_random_seed(0)
    numbers, ids = keras.Input((4,), name="numbers"), keras.Input((3,), dtype="int32", name="ids")
    words = keras.layers.Flatten()(keras.layers.Embedding(10, 2)(ids))
    score = keras.layers.Dense(2)(keras.layers.Concatenate()([numbers, words]))
    return keras.Model({"numbers": numbers, "ids": ids}, {"score": score, "twice": score * 2})


def images() -> Any:
    """A small convolutional network."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(5),
    ]
    return keras.Sequential([keras.layers.Input((16, 16, 3), name="image"), *layers])


class Twice(tf.Module):
    """A module that is called by itself."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x: Any) -> Any:
        return x * 2


class Texts(tf.Module):
    """Strings in and out: no ONNX form."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: Any) -> dict[str, Any]:
        return {"length": tf.strings.length(text), "upper": tf.strings.upper(text)}


class Summed(tf.Module):
    """One number for all rows."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x: Any) -> dict[str, Any]:
        return {"sum": tf.reduce_sum(x)}


class Writes(tf.Module):
    """Writes a file."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x: Any) -> dict[str, Any]:
        tf.io.write_file("written.bin", "x")
        return {"y": x}


class CallsPython(tf.Module):
    """Calls back into Python."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": tf.numpy_function(lambda z: z * 2, [x], tf.float32)}


class Shapeless(tf.Module):
    """Takes a tensor of any rank."""

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": x * 2}


def saved(module: Any, folder: Path) -> Path:
    """The module as a SavedModel."""
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.serve)
    return folder / "saved"


def lite(model: Any, path: Path, *, representative: Any = None) -> Path:
    """A Keras model as LiteRT, with whole numbers inside and outside when rows are given to calibrate with."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if representative is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path
