"""The tiny models of the fixtures, written once for Keras 2 and Keras 3.

``RECIPES`` maps a fixture's name to a function of Keras' namespace (``keras``) that returns a model. Each differs
from its neighbours in one layer or one option that changes the numbers. Sides are odd and unequal, so that a
swapped axis, a wrong padding or a wrong order of flattening shows. Used by ``make_keras2.py`` and ``make_keras3.py``
only; the tests read what these wrote.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

Recipe = Callable[[Any], Any]
RECIPES: dict[str, Recipe] = {}
SHAPE = (5, 6, 7, 2)
FLAT = ("relu", "elu", "selu", "gelu", "swish", "tanh", "sigmoid", "softplus", "softsign", "linear", "exponential",
        "hard_sigmoid", "softmax")  # fmt: skip


def recipe(function: Recipe) -> Recipe:
    RECIPES[function.__name__] = function
    return function


def chain(keras: Any, *layers: Any, shape: tuple[int | None, ...] = SHAPE, head: str = "flatten") -> Any:
    """Return Input -> layers -> head -> Dense(2); ``head`` is flatten, average (over positions) or none."""
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    if head == "flatten":
        x = keras.layers.Flatten()(x)
    if head == "average":
        x = getattr(keras.layers, f"GlobalAveragePooling{len(shape) - 1}D")()(x)
    if head != "none":
        x = keras.layers.Dense(2)(x)
    return keras.Model(inputs, x)


def single(name: str, layer: str, *arguments: Any, shape: tuple[int | None, ...] = SHAPE, **options: Any) -> None:
    """Register the recipe of one layer between input and head."""
    RECIPES[name] = lambda keras: chain(keras, getattr(keras.layers, layer)(*arguments, **options), shape=shape)


def convolutions() -> None:
    single("conv3d_valid", "Conv3D", 3, (3, 2, 1))
    single("conv3d_valid_strides", "Conv3D", 3, (2, 3, 2), strides=(1, 2, 3))
    single("conv3d_no_bias", "Conv3D", 3, 2, use_bias=False)
    for kernel, stride in itertools.product((2, 3, 4), (1, 2, 3)):
        single(f"conv3d_same_k{kernel}_s{stride}", "Conv3D", 3, kernel, strides=stride, padding="same")
    single("conv3d_same_mixed", "Conv3D", 3, (1, 3, 4), strides=(2, 1, 3), padding="same")
    single("conv3d_same_kernel_beyond_side", "Conv3D", 2, (7, 8, 3), padding="same")
    single("conv3d_dilated_same", "Conv3D", 3, 3, dilation_rate=2, padding="same")
    single("conv3d_dilated_same_even", "Conv3D", 3, (2, 3, 2), dilation_rate=(1, 2, 3), padding="same")
    single("conv3d_dilated_valid", "Conv3D", 3, 2, dilation_rate=(2, 1, 3))
    single("conv3d_groups", "Conv3D", 4, 2, groups=2, padding="same")
    single("conv3d_relu", "Conv3D", 3, 2, activation="relu")
    single("conv3d_channels_first", "Conv3D", 3, 2, data_format="channels_first", shape=(2, 5, 6, 7))
    single("conv1d_same_k4_s3", "Conv1D", 3, 4, strides=3, padding="same", shape=(11, 2))
    single("conv1d_dilated", "Conv1D", 3, 3, dilation_rate=2, shape=(11, 2))
    single("conv1d_causal", "Conv1D", 3, 3, dilation_rate=2, padding="causal", shape=(11, 2))
    single("conv2d_same_k4_s3", "Conv2D", 3, (4, 2), strides=(3, 1), padding="same", shape=(7, 8, 2))
    single("conv2d_groups", "Conv2D", 6, 3, groups=2, shape=(7, 8, 4))
    single("conv2d_dilated", "Conv2D", 3, (2, 3), dilation_rate=2, padding="same", shape=(7, 8, 2))
    small = (3, 4, 3, 2)
    for name, options in {
        "same_k3_s2": {"kernel_size": 3, "strides": 2, "padding": "same"},
        "same_k2_s3": {"kernel_size": 2, "strides": 3, "padding": "same"},
        "same_k4_s2": {"kernel_size": 4, "strides": 2, "padding": "same"},
        "same_k5_s2": {"kernel_size": 5, "strides": 2, "padding": "same"},
        "same_k3_s1": {"kernel_size": 3, "strides": 1, "padding": "same"},
        "same_k2_s1": {"kernel_size": 2, "strides": 1, "padding": "same"},
        "same_mixed": {"kernel_size": (1, 2, 3), "strides": (3, 1, 2), "padding": "same"},
        "valid_k3_s2": {"kernel_size": 3, "strides": 2, "padding": "valid"},
        "valid_k2_s3": {"kernel_size": 2, "strides": 3, "padding": "valid"},
        "same_output_padding": {"kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 1},
        "same_output_padding_0": {"kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 0},
        "same_output_padding_k4": {"kernel_size": 4, "strides": 3, "padding": "same", "output_padding": (0, 1, 2)},
        "valid_output_padding": {"kernel_size": 3, "strides": 2, "padding": "valid", "output_padding": 1},
        "no_bias_relu": {"kernel_size": 2, "strides": 2, "padding": "same", "use_bias": False, "activation": "relu"},
    }.items():
        single(f"conv3d_transpose_{name}", "Conv3DTranspose", 2, shape=small, **options)


def norms() -> None:
    single("batchnorm", "BatchNormalization", epsilon=0.1, momentum=0.7)
    single("batchnorm_default", "BatchNormalization")
    single("batchnorm_no_scale", "BatchNormalization", scale=False)
    single("batchnorm_no_center", "BatchNormalization", center=False)
    single("batchnorm_plain", "BatchNormalization", scale=False, center=False)
    single("batchnorm_spatial_axis", "BatchNormalization", axis=2)
    single("batchnorm_positive_axis", "BatchNormalization", axis=4)
    single("batchnorm_1d", "BatchNormalization", shape=(11, 3))
    single("batchnorm_2d", "BatchNormalization", shape=(7, 8, 3))
    single("batchnorm_vector", "BatchNormalization", shape=(9,))
    four = (4, 5, 3, 4)
    single("groupnorm", "GroupNormalization", groups=2, shape=four)
    single("groupnorm_epsilon", "GroupNormalization", groups=2, epsilon=0.5, shape=four)
    single("groupnorm_one_group", "GroupNormalization", groups=1, shape=four)
    single("groupnorm_each_channel", "GroupNormalization", groups=-1, shape=four)
    single("groupnorm_plain", "GroupNormalization", groups=4, scale=False, center=False, shape=four)
    single("groupnorm_no_scale", "GroupNormalization", groups=2, scale=False, shape=four)
    single("groupnorm_spatial_axis", "GroupNormalization", groups=1, axis=2, shape=four)
    single("groupnorm_vector", "GroupNormalization", groups=2, shape=(6,))
    single("layernorm", "LayerNormalization")
    single("rescaling", "Rescaling", 1 / 255, offset=-0.5)
    single("rescaling_by_channel", "Rescaling", [0.5, 2.0], offset=[0.25, -1.0])
    single("normalization_given", "Normalization", mean=[0.5, -0.25], variance=[2.0, 0.3])
    single("normalization_given_scalar", "Normalization", axis=None, mean=0.5, variance=2.0)
    single("normalization_inverted", "Normalization", mean=[0.5, -0.25], variance=[2.0, 0.3], invert=True)
    single("normalization_stored", "Normalization", axis=-1)
    single("normalization_stored_spatial", "Normalization", axis=(2, 4))
    single("normalization_stored_scalar", "Normalization", axis=None)
    single("normalization_stored_vector", "Normalization", shape=(9,))


def pools() -> None:
    for kind, kernel, stride in itertools.product(("Max", "Average"), (2, 3), (1, 2, 3)):
        name = f"{kind.lower()}pool_same_k{kernel}_s{stride}"
        single(name, f"{kind}Pooling3D", kernel, strides=stride, padding="same")
    for kind in ("Max", "Average"):
        low = f"{kind.lower()}pool"
        single(f"{low}_valid", f"{kind}Pooling3D", 2)
        single(f"{low}_valid_overlapping", f"{kind}Pooling3D", 3, strides=2)
        single(f"{low}_valid_sparse", f"{kind}Pooling3D", 2, strides=(3, 4, 3))
        single(f"{low}_same_sparse", f"{kind}Pooling3D", (1, 2, 2), strides=(2, 4, 3), padding="same")
        single(f"{low}_same_mixed", f"{kind}Pooling3D", (5, 4, 2), strides=(2, 1, 3), padding="same")
        single(f"{low}_1d", f"{kind}Pooling1D", 4, strides=3, padding="same", shape=(11, 2))
        single(f"{low}_1d_valid", f"{kind}Pooling1D", 2, shape=(11, 2))
        single(f"{low}_2d", f"{kind}Pooling2D", (4, 2), strides=(3, 1), padding="same", shape=(7, 8, 2))
        for rank in (1, 2, 3):
            for keep in (False, True):
                name = f"global_{kind.lower()}_{rank}d{'_keepdims' if keep else ''}"
                single(name, f"Global{kind}Pooling{rank}D", keepdims=keep, shape=(*SHAPE[:rank], 3))


def activations() -> None:
    single("relu", "ReLU")
    single("relu_max", "ReLU", max_value=0.5)
    single("relu_slope", "ReLU", negative_slope=0.25)
    single("relu_threshold", "ReLU", threshold=0.5)
    single("relu_all", "ReLU", max_value=1.5, negative_slope=0.25, threshold=0.5)
    single("relu_six", "ReLU", max_value=6.0)
    single("elu", "ELU", alpha=0.5)
    single("prelu", "PReLU", shape=(3, 4, 3, 2))
    single("prelu_shared", "PReLU", shared_axes=[1, 2, 3])
    single("prelu_partly_shared", "PReLU", shared_axes=[1, 3])
    single("prelu_vector", "PReLU", shape=(9,))
    single("prelu_2d", "PReLU", shared_axes=[1, 2], shape=(7, 8, 3))
    single("softmax_channels", "Softmax")
    single("softmax_spatial", "Softmax", axis=2)
    single("leaky_relu", "LeakyReLU")
    for name in FLAT:
        single(f"activation_{name}", "Activation", name)

        def fused(keras: Any, name: str = name) -> Any:
            return chain(keras, keras.layers.Conv3D(3, 2, activation=name))

        RECIPES[f"fused_{name}"] = fused

    @recipe
    def leaky_relu_slope(keras: Any) -> Any:
        key = "alpha" if int(keras.__version__[0]) == 2 else "negative_slope"
        return chain(keras, keras.layers.LeakyReLU(**{key: 0.05}))

    @recipe
    def fused_layer(keras: Any) -> Any:
        """A layer given as the activation: stored as a dictionary of class and configuration."""
        return chain(keras, keras.layers.Conv3D(3, 2, activation=keras.layers.LeakyReLU(0.125)))

    @recipe
    def fused_function(keras: Any) -> Any:
        return chain(keras, keras.layers.Conv3D(3, 2, activation=keras.activations.tanh))

    def only3(name: str) -> Recipe:
        return lambda keras: chain(keras, keras.layers.Activation(name))

    for name in ("relu6", "leaky_relu", "silu", "hard_sigmoid", "mish", "log_softmax"):
        RECIPES.setdefault(f"activation_{name}", only3(name))


def shapes() -> None:
    single("flatten_only", "Flatten")
    single("zero_padding_3d", "ZeroPadding3D", ((1, 2), (0, 3), (2, 0)))
    single("zero_padding_3d_one", "ZeroPadding3D", 1)
    single("zero_padding_3d_symmetric", "ZeroPadding3D", (1, 0, 2))
    single("zero_padding_2d", "ZeroPadding2D", ((1, 2), (0, 3)), shape=(5, 6, 2))
    single("zero_padding_1d", "ZeroPadding1D", (1, 2), shape=(9, 2))
    single("cropping_3d", "Cropping3D", ((1, 2), (0, 3), (2, 0)))
    single("cropping_3d_one", "Cropping3D", 1)
    single("cropping_2d", "Cropping2D", ((1, 2), (0, 3)), shape=(5, 6, 2))
    single("cropping_1d", "Cropping1D", (1, 2), shape=(9, 2))
    single("upsampling_3d", "UpSampling3D", (2, 3, 1), shape=(3, 2, 4, 2))
    single("upsampling_3d_default", "UpSampling3D", shape=(3, 2, 4, 2))
    single("upsampling_2d", "UpSampling2D", (2, 3), shape=(3, 4, 2))
    single("upsampling_2d_bilinear", "UpSampling2D", (2, 3), interpolation="bilinear", shape=(3, 4, 2))
    single("upsampling_1d", "UpSampling1D", 3, shape=(5, 2))
    single("reshape_mixes_channels", "Reshape", (7, 5, 2, 6))
    single("reshape_unknown_side", "Reshape", (3, -1, 2))
    single("reshape_to_vector", "Reshape", (-1,))
    single("reshape_from_vector", "Reshape", (2, 3, 2, 2), shape=(24,))
    single("repeat_vector", "RepeatVector", 3, shape=(4,))
    for number, order in enumerate([(4, 3, 2, 1), (1, 3, 2, 4), (2, 3, 1, 4), (3, 4, 1, 2)]):
        single(f"permute_{number}", "Permute", order)
    for name in ("Dropout", "GaussianNoise", "GaussianDropout", "SpatialDropout3D"):
        single(name.lower(), name, 0.4)
    single("spatialdropout2d", "SpatialDropout2D", 0.4, shape=(5, 6, 2))
    single("spatialdropout1d", "SpatialDropout1D", 0.4, shape=(7, 2))
    single("dense_on_volume", "Dense", 3, activation="relu")
    single("dense_on_sequence", "Dense", 3, shape=(5, 2))
    single("dense_on_vector", "Dense", 4, activation="tanh", use_bias=False, shape=(9,))


for register in (convolutions, norms, pools, activations, shapes):
    register()
