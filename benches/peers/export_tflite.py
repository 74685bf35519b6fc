"""Writes a Hugging Face directory for LiteRT with fixed shapes: export_tflite.py DIR SIZE OUT.tflite f32|int8

As export_onnx.py, in TensorFlow's operators. int8 is its converter's default: weights by channel, activations
quantised as they come (dynamic range), which LiteRT's XNNPACK runs with its int8 kernels.
"""
import pathlib, sys
import tensorflow as tf
from source import read, resized

directory, size, out, weights_kind = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
config, weights, side, tokens = read(directory, size)
vision = side > 0
d, heads, eps = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
head = d // heads


def linear(x, name):
    return tf.matmul(x, weights[name + ".weight"].T) + weights[name + ".bias"]


def norm(x, name):
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    return centred * tf.math.rsqrt(variance + eps) * weights[name + ".weight"] + weights[name + ".bias"]


def attention(x, name, inner="self"):
    of_heads = lambda part: tf.transpose(tf.reshape(linear(x, f"{name}.{inner}.{part}"), [1, tokens, heads, head]), [0, 2, 1, 3])
    scores = tf.matmul(of_heads("query"), of_heads("key"), transpose_b=True) * head ** -0.5
    mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), of_heads("value")), [0, 2, 1, 3])
    return linear(tf.reshape(mixed, [tokens, d]), name + ".output.dense")


def gelu(x):
    return tf.nn.gelu(x, approximate=False)


def bert(ids):
    words = tf.gather(weights["embeddings.word_embeddings.weight"], ids[0])
    places = weights["embeddings.position_embeddings.weight"][:tokens] + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(words + places, "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        x = norm(attention(x, name + ".attention") + x, name + ".attention.output.LayerNorm")
        wide = gelu(linear(x, name + ".intermediate.dense"))
        x = norm(linear(wide, name + ".output.dense") + x, name + ".output.LayerNorm")
    return x


def dinov2(pixels):
    patch, name = config["patch_size"], "embeddings.patch_embeddings.projection"
    kernel = weights[name + ".weight"].transpose(2, 3, 1, 0)
    grid = tf.nn.conv2d(tf.transpose(pixels, [0, 2, 3, 1]), kernel, patch, "VALID") + weights[name + ".bias"]
    x = tf.concat([weights["embeddings.cls_token"][0], tf.reshape(grid, [side * side, d])], 0)
    x += resized(weights["embeddings.position_embeddings"][0], side)
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        mixed = attention(norm(x, name + ".norm1"), name + ".attention", "attention")
        x += mixed * weights[name + ".layer_scale1.lambda1"]
        wide = gelu(linear(norm(x, name + ".norm2"), name + ".mlp.fc1"))
        x += linear(wide, name + ".mlp.fc2") * weights[name + ".layer_scale2.lambda1"]
    return norm(x, "layernorm")


if vision:
    signature = tf.TensorSpec([1, 3, size, size], tf.float32, name="pixels")
else:
    signature = tf.TensorSpec([1, size], tf.int32, name="ids")
model = tf.function(dinov2 if vision else bert, input_signature=[signature])
converter = tf.lite.TFLiteConverter.from_concrete_functions([model.get_concrete_function()])
if weights_kind == "int8":
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
pathlib.Path(out).write_bytes(converter.convert())
