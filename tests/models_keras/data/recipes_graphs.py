"""Recipes of whole graphs: flattening orders, merges, nested and shared models, endings, names (see ``recipes``)."""

from __future__ import annotations

from typing import Any

from recipes import RECIPES, SHAPE, chain, recipe

AWKWARD_NAMES = ("forward", "train", "class", "1x1", "a_b", "training", "weight", "parameters", "self", "x", "linear")


def merge(name: str, layer: str, first: tuple[int, ...], second: tuple[int, ...], **options: Any) -> None:
    """Register a merge of two inputs."""

    def build(keras: Any) -> Any:
        inputs = [keras.Input(first), keras.Input(second)]
        x = getattr(keras.layers, layer)(**options)(inputs)
        return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))

    RECIPES[name] = build


for layer in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
    merge(f"{layer.lower()}_two", layer, (3, 4, 5, 2), (3, 4, 5, 2))
    merge(f"{layer.lower()}_one_channel", layer, (3, 4, 5, 1), (3, 4, 5, 3))
    merge(f"{layer.lower()}_broadcast", layer, (3, 4, 5, 2), (1, 4, 1, 2))
merge("add_other_rank", "Add", (3, 4, 5, 2), (2,))
merge("multiply_other_rank", "Multiply", (4, 3, 2), (2,))
merge("multiply_first_of_lower_rank", "Multiply", (2,), (3, 4, 2))
merge("multiply_matrix_by_volume", "Multiply", (3, 4, 5, 2), (5, 2))
merge("add_vectors", "Add", (7,), (1,))
for axis in (1, 2, 3, 4, -1, -2, -4):
    shapes = [[3, 4, 5, 2], [3, 4, 5, 2]]
    shapes[1][axis - 1 if axis > 0 else axis] = 1
    merge(f"concatenate_axis_{axis}".replace("-", "minus_"), "Concatenate", *map(tuple, shapes), axis=axis)
merge("concatenate_vectors", "Concatenate", (7,), (3,))


@recipe
def merge_of_three(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input(SHAPE)
    parts = [layers.Conv3D(2, 2, padding="same")(x) for _ in range(3)]
    y = layers.Concatenate()([layers.Average()(parts), layers.Maximum()(parts), layers.Add()(parts), x])
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


@recipe
def merge_with_itself(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input((3, 4, 5, 2))
    y = layers.Concatenate()([layers.Add()([x, x]), x, x])
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


@recipe
def squeeze_excite(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input(SHAPE)
    x = layers.Conv3D(4, 3, padding="same", strides=2, activation="relu")(inputs)
    gate = layers.GlobalAveragePooling3D()(x)
    gate = layers.Reshape((1, 1, 1, 4))(gate)
    gate = layers.Dense(2, activation="relu")(gate)
    gate = layers.Dense(4, activation="sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling3D()(x)))


# Flattening: channels last in Keras, channels first in PyTorch.
@recipe
def flatten_dropout_activation(keras: Any) -> Any:
    layers = keras.layers
    return chain(keras, layers.Flatten(), layers.Dropout(0.3), layers.ReLU(), layers.Dense(4), head="flatten")


@recipe
def flatten_batchnorm(keras: Any) -> Any:
    return chain(keras, keras.layers.Flatten(), keras.layers.BatchNormalization(), shape=(3, 2, 4, 2))


@recipe
def flatten_prelu(keras: Any) -> Any:
    return chain(keras, keras.layers.Flatten(), keras.layers.PReLU(), shape=(3, 2, 4, 2))


@recipe
def flatten_softmax(keras: Any) -> Any:
    return chain(keras, keras.layers.Flatten(), keras.layers.Softmax(), shape=(3, 2, 4, 2))


@recipe
def flatten_reshape(keras: Any) -> Any:
    layers = keras.layers
    again = layers.Reshape((4, 3, 2, 2))
    return chain(keras, layers.Flatten(), again, layers.Conv3D(2, 2), shape=(3, 2, 4, 2))


@recipe
def flatten_twice(keras: Any) -> Any:
    return chain(keras, keras.layers.Flatten(), keras.layers.Flatten(), shape=(3, 2, 4, 2))


@recipe
def flatten_groupnorm(keras: Any) -> Any:
    layers = keras.layers
    return chain(keras, layers.Flatten(), layers.GroupNormalization(groups=4), shape=(3, 2, 4, 2))


@recipe
def flatten_two_dense(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((3, 2, 4, 2))
    x = layers.Flatten()(inputs)
    y = layers.Add()([layers.Dense(4)(x), layers.Dense(4, activation="relu")(x)])
    return keras.Model(inputs, layers.Dense(2)(y))


@recipe
def flatten_shared_dense(keras: Any) -> Any:
    """One Dense on a flattened volume and on a vector input: its weights cannot be reordered for one only."""
    layers = keras.layers
    inputs = [keras.Input((3, 2, 2, 2)), keras.Input((24,))]
    dense = layers.Dense(3)
    y = layers.Subtract()([dense(layers.Flatten()(inputs[0])), dense(inputs[1])])
    return keras.Model(inputs, layers.Dense(2)(y))


@recipe
def flatten_concatenate(keras: Any) -> Any:
    layers = keras.layers
    inputs = [keras.Input((3, 2, 4, 2)), keras.Input((3,))]
    a = layers.Flatten()(layers.Conv3D(3, 2)(inputs[0]))
    b = layers.Flatten()(layers.MaxPooling3D(2)(inputs[0]))
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([a, inputs[1], b])))


@recipe
def flatten_into_nested(keras: Any) -> Any:
    layers = keras.layers
    head = keras.Sequential([keras.Input((48,)), layers.Dense(4, activation="relu"), layers.Dense(2)])
    inputs = keras.Input((3, 2, 4, 2))
    return keras.Model(inputs, head(layers.Flatten()(inputs)))


@recipe
def flatten_is_the_output(keras: Any) -> Any:
    return chain(keras, keras.layers.Conv3D(1, (3, 4, 5)), keras.layers.Flatten(), head="none")


@recipe
def permute_flatten(keras: Any) -> Any:
    layers = keras.layers
    return chain(keras, layers.Permute((3, 1, 2, 4)), layers.Conv3D(2, 2), layers.Flatten(), layers.Dense(4))


@recipe
def permute_reshape_mix(keras: Any) -> Any:
    layers = keras.layers
    mixed = layers.Permute((4, 1, 3, 2)), layers.Reshape((7, 2, 6, 5)), layers.Permute((2, 4, 1, 3))
    return chain(keras, *mixed, layers.Conv3D(2, 2), layers.Reshape((-1, 2)), layers.Conv1D(2, 3))


# Nested and shared models.
@recipe
def nested(keras: Any) -> Any:
    layers = keras.layers
    a = keras.Input((None, None, None, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv3D(4, 2, name="conv")(a))
    inner = keras.Model(a, layers.Conv3D(3, 2, name="conv_out")(x), name="inner")
    return chain(keras, layers.Conv3D(3, 1, name="conv"), inner, layers.ReLU())


@recipe
def nested_frozen(keras: Any) -> Any:
    """Frozen layers change the order in which the weights of a nested model are stored."""
    layers = keras.layers
    a = keras.Input((5, 6, 7, 3))
    first = layers.Conv3D(3, 2, padding="same", name="frozen")
    first.trainable = False
    x = layers.BatchNormalization(name="norm")(first(a))
    frozen_norm = layers.BatchNormalization(name="frozen_norm")
    x = layers.Conv3D(3, 2, padding="same", name="free")(frozen_norm(x))
    frozen_norm.trainable = False
    inner = keras.Model(a, x, name="inner")
    return chain(keras, layers.Conv3D(3, 1), inner)


@recipe
def nested_frozen_whole(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential([keras.Input(SHAPE), layers.Conv3D(2, 2), layers.BatchNormalization()], name="inner")
    inner.trainable = False
    return chain(keras, inner, layers.BatchNormalization())


@recipe
def nested_deep(keras: Any) -> Any:
    layers = keras.layers
    core = keras.Sequential([keras.Input(SHAPE), layers.Conv3D(2, 2, name="inmost")], name="core")
    middle = keras.Sequential([keras.Input(SHAPE), core, layers.Conv3D(2, 2, name="conv")], name="middle")
    return chain(keras, middle, layers.Conv3D(2, 2, name="conv"), layers.BatchNormalization())


@recipe
def nested_shared(keras: Any) -> Any:
    """One network on two scans (Siamese), and the difference of what it says."""
    layers = keras.layers
    inner = [keras.Input((3, 4, 5, 2)), layers.Conv3D(3, 2, activation="relu"), layers.BatchNormalization()]
    tower = keras.Sequential([*inner, layers.Flatten(), layers.Dense(4)], name="tower")
    inputs = [keras.Input((3, 4, 5, 2)), keras.Input((3, 4, 5, 2))]
    return keras.Model(inputs, layers.Dense(2)(layers.Subtract()([tower(inputs[0]), tower(inputs[1])])))


@recipe
def nested_several_inputs_outputs(keras: Any) -> Any:
    layers = keras.layers
    a, b = keras.Input((3, 4, 5, 2), name="scan"), keras.Input((3,), name="covariates")
    gate = layers.Dense(2)(b)
    outs = [layers.Conv3D(2, 2)(a), gate]
    inner = keras.Model([b, a], outs[::-1], name="inner")
    x, y = keras.Input((3, 4, 5, 2)), keras.Input((3,))
    second, first = inner([y, x])
    z = layers.Concatenate()([layers.Flatten()(first), second])
    return keras.Model([x, y], layers.Dense(2)(z))


@recipe
def nested_with_softmax_end(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(3, activation="softmax")])
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, inner(inputs))


@recipe
def shared_layer(keras: Any) -> Any:
    layers = keras.layers
    conv, norm = layers.Conv3D(2, 3, padding="same"), layers.BatchNormalization()
    return chain(keras, conv, layers.ReLU(), conv, norm, conv, norm)


@recipe
def shared_layer_outside_and_inside(keras: Any) -> Any:
    layers = keras.layers
    conv, other = layers.Conv3D(2, 2, padding="same"), layers.Conv3D(2, 2, padding="same")
    inner = keras.Sequential([keras.Input(SHAPE), other, conv, layers.Conv3D(2, 2, padding="same")], name="inner")
    return chain(keras, layers.Conv3D(2, 2, padding="same"), conv, inner, other)


@recipe
def branches_named_backwards(keras: Any) -> Any:
    """Equal shapes and names against the order of the graph: only the stored mapping tells which is which."""
    layers = keras.layers
    inputs = keras.Input(SHAPE)
    z = layers.Conv3D(2, 2, name="z")(inputs)
    y = layers.Conv3D(2, 2, name="y")(inputs)
    a = layers.Conv3D(2, 2, padding="same", name="b")(layers.Conv3D(2, 2, padding="same", name="a")(y))
    x = layers.Subtract()([layers.Conv3D(2, 2, padding="same", name="c")(z), a])
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


# Inputs and outputs.
@recipe
def several_inputs_other_order(keras: Any) -> Any:
    layers = keras.layers
    b, a = keras.Input((4,), name="b"), keras.Input(SHAPE, name="a")
    x = layers.Concatenate()([layers.Dense(3)(b), layers.Flatten()(layers.Conv3D(2, 3)(a))])
    return keras.Model([a, b], layers.Dense(2)(x))


@recipe
def several_outputs(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input(SHAPE)
    y = layers.Flatten()(layers.Conv3D(2, 3)(x))
    return keras.Model(x, [layers.Dense(2, name="second")(y), layers.Dense(3, name="first")(y)])


@recipe
def unknown_sides(keras: Any) -> Any:
    layers = keras.layers
    body = layers.Conv3D(3, 3, strides=2, padding="same"), layers.MaxPooling3D(2, padding="same")
    return chain(keras, *body, shape=(None, None, None, 2), head="average")


@recipe
def unused_branch(keras: Any) -> Any:
    """A layer in the middle is the output; what comes after it is not in the model."""
    layers = keras.layers
    x = keras.Input(SHAPE)
    y = layers.Dense(2)(layers.Flatten()(x))
    layers.Dense(3)(y)
    return keras.Model(x, y)


def ending(name: str, *layers: tuple[str, dict[str, Any]]) -> None:
    def build(keras: Any) -> Any:
        made = [getattr(keras.layers, layer)(**options) for layer, options in layers]
        return chain(keras, keras.layers.Flatten(), *made, shape=(3, 4, 5, 1), head="none")

    RECIPES[f"end_{name}"] = build


ending("softmax_fused", ("Dense", {"units": 3, "activation": "softmax"}))
ending("softmax_layer", ("Dense", {"units": 3}), ("Softmax", {}))
ending("softmax_activation", ("Dense", {"units": 3}), ("Activation", {"activation": "softmax"}))
ending("sigmoid_fused", ("Dense", {"units": 1, "activation": "sigmoid"}))
ending("sigmoid_activation", ("Dense", {"units": 1}), ("Activation", {"activation": "sigmoid"}))
ending("sigmoid_of_three", ("Dense", {"units": 3, "activation": "sigmoid"}))
ending("linear", ("Dense", {"units": 1, "activation": "linear"}))
ending("relu", ("Dense", {"units": 2, "activation": "relu"}))
ending("softmax_dropout", ("Dense", {"units": 3, "activation": "softmax"}), ("Dropout", {"rate": 0.1}))


# Sequential models and names.
@recipe
def sequential(keras: Any) -> Any:
    layers = keras.layers
    body = [layers.Conv3D(2, 2, activation="relu"), layers.MaxPooling3D(2), layers.BatchNormalization()]
    return keras.Sequential([keras.Input(SHAPE), *body, layers.Flatten(), layers.Dense(2)])


@recipe
def sequential_without_input_layer(keras: Any) -> Any:
    layers = keras.layers
    model = keras.Sequential([layers.Conv3D(2, 2, activation="relu"), layers.Flatten(), layers.Dense(2)])
    model.build((None, *SHAPE))
    return model


@recipe
def sequential_input_shape(keras: Any) -> Any:
    """The input's shape as an option of the first layer, as most old scripts do."""
    layers = keras.layers
    return keras.Sequential([layers.Conv3D(2, 2, input_shape=SHAPE), layers.Flatten(), layers.Dense(2)])


@recipe
def awkward_names(keras: Any) -> Any:
    # TensorFlow's scopes allow no space and no letter beyond ASCII, PyTorch's parameters no dot.
    names = (*AWKWARD_NAMES, *(("a.b", "a>b") if int(keras.__version__[0]) == 2 else ("a b", "größe")))
    layers = [keras.layers.Dense(3, activation="tanh", name=name) for name in names]
    return chain(keras, *layers, shape=(4,))


@recipe
def numbered_names(keras: Any) -> Any:
    """Ten and more layers of a class: 'dense_10' sorts before 'dense_2'."""
    return chain(keras, *[keras.layers.Dense(3, activation="tanh") for _ in range(12)], shape=(3,))


# Small versions of the networks that studies use.
@recipe
def like_densenet(keras: Any) -> Any:
    layers = keras.layers
    inputs = x = keras.Input((9, 8, 7, 1))
    for _ in range(3):
        y = layers.Activation("relu")(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv3D(2, 3, padding="same", use_bias=False)(y)])
    x = layers.AveragePooling3D(2, padding="same")(layers.Conv3D(3, 1)(x))
    x = layers.GlobalAveragePooling3D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Dropout(0.2)(x)))


@recipe
def like_unet(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((5, 7, 6, 1))
    a = layers.Conv3D(2, 3, padding="same", activation="relu")(inputs)
    b = layers.Conv3D(3, 3, padding="same", activation="relu")(layers.MaxPooling3D(2, padding="same")(a))
    c = layers.Conv3DTranspose(2, 2, strides=2, padding="same")(b)
    c = layers.Cropping3D(((0, 1), (1, 0), (0, 0)))(c)
    x = layers.LeakyReLU()(layers.Concatenate()([c, a]))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling3D()(x)))
