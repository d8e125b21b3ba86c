"""Recipes that only one of Keras 2 and Keras 3 can make, and models that a reader must refuse."""

from __future__ import annotations

from typing import Any

from recipes import SHAPE, Recipe, chain

VOLUME = (3, 4, 3, 4)


def instance_normalizations(keras: Any) -> dict[str, Recipe]:
    """Return recipes of InstanceNormalization as tensorflow_addons and keras_contrib stored and computed it.

    Neither package installs beside TensorFlow 2.14; both classes are written here from their documented behaviour
    (tensorflow_addons 0.21 ``layers/normalizations.py``, keras_contrib 2.0.8 ``layers/normalization``).
    """
    register = keras.utils.register_keras_serializable

    @register(package="Addons")
    class InstanceNormalization(keras.layers.GroupNormalization):  # type: ignore[misc, name-defined]
        """As tensorflow_addons: group normalisation with one group for each channel; groups is stored as -1."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "groups": -1})

        def build(self, shape: Any) -> None:
            super().build(shape)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "groups": -1}

    addons = InstanceNormalization

    class Contrib(keras.layers.Layer):  # type: ignore[misc, name-defined]
        """As keras_contrib: epsilon is added to the standard deviation; axis None has one scale for everything."""

        def __init__(self, axis: int | None = None, epsilon: float = 1e-3, **options: Any) -> None:
            super().__init__(**options)
            self.axis, self.epsilon = axis, epsilon

        def build(self, shape: Any) -> None:
            size = (1,) if self.axis is None else (shape[self.axis],)
            self.gamma = self.add_weight(shape=size, name="gamma", initializer="ones")
            self.beta = self.add_weight(shape=size, name="beta", initializer="zeros")
            self.built = True

        def call(self, x: Any) -> Any:
            import tensorflow as tf

            axes = list(range(1, 5))
            if self.axis is not None:
                del axes[self.axis if self.axis < 0 else self.axis - 1]
            mean, variance = tf.nn.moments(x, axes, keepdims=True)
            return (x - mean) / (tf.sqrt(variance) + self.epsilon) * self.gamma + self.beta

        def get_config(self) -> dict[str, Any]:
            more = {"axis": self.axis, "epsilon": self.epsilon, "center": True, "scale": True}
            return {**super().get_config(), **more}

    Contrib.__name__ = "InstanceNormalization"
    return {
        "instancenorm_addons": lambda k: chain(k, addons(epsilon=0.2), shape=VOLUME),
        "instancenorm_addons_default": lambda k: chain(k, addons(), shape=VOLUME),
        "instancenorm_addons_plain": lambda k: chain(k, addons(center=False, scale=False), shape=VOLUME),
        "instancenorm_contrib": lambda k: chain(k, Contrib(axis=-1, epsilon=0.2), shape=VOLUME),
        "instancenorm_contrib_whole": lambda k: chain(k, Contrib(epsilon=0.2), shape=VOLUME),
    }


def refused(keras: Any) -> dict[str, Recipe]:
    """Return recipes whose layer is none that a reader may take: each must be refused by name."""
    layers = keras.layers

    def custom(k: Any) -> Any:
        @k.utils.register_keras_serializable(package="Study")
        class Doubling(k.layers.Layer):  # type: ignore[misc, name-defined]
            def call(self, x: Any) -> Any:
                return x * 2

        return chain(k, Doubling(name="culprit"))

    def disguised(k: Any) -> Any:
        """A class of the study that is called as a layer of Keras and computes something else."""

        @k.utils.register_keras_serializable(package="Study")
        class ReLU(k.layers.Layer):  # type: ignore[misc, name-defined]
            def call(self, x: Any) -> Any:
                return x * 2

        return chain(k, ReLU(name="culprit"))

    def activation(k: Any) -> Any:
        @k.utils.register_keras_serializable(package="Study")
        def doubled(x: Any) -> Any:
            return x * 2

        return chain(k, k.layers.Conv3D(2, 2, activation=doubled, name="culprit"))

    def dot(k: Any) -> Any:
        x = k.Input((5,))
        return k.Model(x, k.layers.Dense(2)(k.layers.Dot(axes=1, name="culprit")([x, x])))

    def operator(k: Any) -> Any:
        x = k.Input((5,))
        return k.Model(x, k.layers.Dense(2)(x * 2.0 + 1.0))

    small = {"shape": (5, 2)}

    def inner() -> Any:
        return layers.Dense(2)

    # Compiled under a name of its own, since the stored code names the file that it comes from.
    doubling = eval(compile("lambda x: x * 2", "study", "eval"))
    return {
        "refused_lambda": lambda k: chain(k, layers.Lambda(doubling, name="culprit")),
        "refused_custom_layer": custom,
        "refused_disguised_layer": disguised,
        "refused_custom_activation": activation,
        "refused_operator": operator,
        "refused_dot": dot,
        "refused_lstm": lambda k: chain(k, layers.LSTM(3, name="culprit"), head="none", **small),
        "refused_time_distributed": lambda k: chain(k, layers.TimeDistributed(inner(), name="culprit"), **small),
        "refused_embedding": lambda k: chain(k, layers.Embedding(3, 2, name="culprit"), shape=(4,)),
        "refused_depthwise": lambda k: chain(k, layers.DepthwiseConv2D(2, name="culprit"), shape=(5, 6, 2)),
        "refused_separable": lambda k: chain(k, layers.SeparableConv2D(2, 2, name="culprit"), shape=(5, 6, 2)),
        "refused_locked_norm": lambda k: chain(k, layers.UnitNormalization(name="culprit")),
    }


def of_keras3(keras: Any) -> dict[str, Recipe]:
    """Return what only Keras 3 stores: Keras 2 writes this activation as if it were its own (and loads it wrongly)."""

    def disguised(k: Any) -> Any:
        @k.utils.register_keras_serializable(package="Study")
        def relu(x: Any) -> Any:
            return x * 2

        return chain(k, k.layers.Conv3D(2, 2, activation=relu, name="culprit"))

    return {"refused_disguised_activation": disguised}


def of_keras2(keras: Any) -> dict[str, Recipe]:
    """Return what only Keras 2 can write."""

    def slash(k: Any) -> Any:
        """Names with '/', which HDF5 takes as nested groups."""
        made = [k.layers.Dense(3, activation="tanh", name=name) for name in ("a", "a/b", "c/d/e")]
        return chain(k, *made, shape=(4,))

    def fixed_batch(k: Any) -> Any:
        x = k.Input(batch_shape=(2, *SHAPE))
        return k.Model(x, k.layers.Dense(2)(k.layers.Flatten()(k.layers.Conv3D(2, 2)(x))))

    def double(k: Any) -> Any:
        x = k.Input(SHAPE, dtype="float64")
        y = k.layers.Flatten(dtype="float64")(k.layers.Conv3D(2, 2, dtype="float64")(x))
        return k.Model(x, k.layers.Dense(2, dtype="float64")(y))

    def mixed(k: Any) -> Any:
        x = k.Input(SHAPE)
        y = k.layers.Conv3D(2, 2, dtype="mixed_float16")(x)
        return k.Model(x, k.layers.Dense(2, dtype="float32")(k.layers.Flatten()(y)))

    return {"names_with_slash": slash, "fixed_batch": fixed_batch, "float64": double, "mixed_precision": mixed}
