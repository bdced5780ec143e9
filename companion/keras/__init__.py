"""The methods of the book in Keras, on TensorFlow. Importing this package never loads PyTorch."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"companion.keras needs Keras on TensorFlow, but its backend is {keras.backend.backend()}: "
        "set the environment variable KERAS_BACKEND to tensorflow before Keras is imported"
    )
