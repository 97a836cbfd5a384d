"""The competition's training in Keras, as the reference that the fixed training is timed against.

Runs in an environment of its own, where databoost and PyTorch are not installed; see
``keras_speed.py``, which makes the environment, starts this script and hands it what to do:

    python keras_reference_model.py examples.npz --threads 2

``examples.npz`` holds ``train_images``, ``val_images`` (n, 32, 32, 3) float32 RGB, 0 to 255, and
``train_labels``, ``val_labels`` (n,) int64. Each line read from standard input is a number of
epochs; the answer is a line with the processor seconds and the wall seconds that they took. The
first answer, to nothing, tells the version, and the name and shape of every variable.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf

IMAGE_SIZE = 32
BATCH_SIZE = 8
MEANS = (103.939, 116.779, 123.68)  # of blue, green and red


def build(n_classes: int) -> keras.Model:
    """Build and compile the competition's model."""
    whole = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3)
    )
    cut = keras.Model(whole.inputs, whole.get_layer("conv2_block3_out").output)
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    pixels = keras.applications.resnet50.preprocess_input(inputs)
    features = keras.layers.GlobalAveragePooling2D()(cut(pixels))
    model = keras.Model(inputs, keras.layers.Dense(n_classes, name="dense")(features))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=1e-4, epsilon=1e-7),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def batches(images: Any, labels: Any, is_shuffled: bool) -> tf.data.Dataset:
    """Give the examples in batches, from memory, in a new order every epoch if asked for."""
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    if is_shuffled:
        data = data.shuffle(len(labels), seed=0, reshuffle_each_iteration=True)
    return data.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def variables(model: keras.Model) -> dict[str, list[int]]:
    """Shape of each variable by ``<layer>/<name>``."""
    layers = [*model.layers, *(inner for outer in model.layers for inner in _inside(outer))]
    return {
        f"{layer.name}/{variable.name}": list(variable.shape)
        for layer in layers
        if not isinstance(layer, keras.Model)
        for variable in layer.weights
    }


def _inside(layer: Any) -> list[Any]:
    return layer.layers if isinstance(layer, keras.Model) else []


def main() -> None:
    """Answer requests for epochs until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("examples", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    tf.config.threading.set_inter_op_parallelism_threads(given.threads)
    keras.utils.set_random_seed(0)
    with np.load(given.examples) as arrays:
        held = dict(arrays)
    train = batches(held["train_images"], held["train_labels"], True)
    val = batches(held["val_images"], held["val_labels"], False)
    model = build(int(held["train_labels"].max()) + 1)
    kept = keras.callbacks.ModelCheckpoint(
        str(given.examples.with_name("best.weights.h5")),
        monitor="val_accuracy",
        save_best_only=True,
        save_weights_only=True,
    )
    told = {"version": keras.__version__, "tensorflow": tf.__version__}
    print(json.dumps(told | {"variables": variables(model)}), flush=True)
    for line in sys.stdin:
        processor, wall = time.process_time(), time.perf_counter()
        model.fit(train, validation_data=val, epochs=int(line), callbacks=[kept], verbose=0)
        spent = time.process_time() - processor, time.perf_counter() - wall
        print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
