"""Writes a Hugging Face directory as ONNX with fixed shapes: export_onnx.py DIR SIZE OUT.onnx

A BERT, where SIZE is tokens: token ids to the last hidden states; or a DINOv2, where SIZE is pixels on a side of the
image: normalised planes to the last hidden states. Every operator is the plain one that runtimes fuse
(LayerNormalization, Erf GELU, MatMul + Add); fixed shapes and no mask, so that no runtime computes more than the
model asks for.
"""
import pathlib, sys
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
from source import read, resized

directory, size, out = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
config, weights, side, tokens = read(directory, size)
vision = side > 0
d, heads, eps = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
head = d // heads
nodes, constants = [], {}


def constant(name, value):
    constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def node(kind, *inputs, **attributes):
    output = f"{kind}_{len(nodes)}"
    nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
    return output


def linear(x, name):
    product = node("MatMul", x, constant(name + ".weight_t", weights[name + ".weight"].T))
    return node("Add", product, constant(name + ".bias", weights[name + ".bias"]))


def norm(x, name):
    weight, bias = (constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return node("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps)


def split_heads(x, order):
    shaped = node("Reshape", x, constant("heads", np.array([1, tokens, heads, head], np.int64)))
    return node("Transpose", shaped, perm=order)


def attention(x, name, inner="self"):
    q = split_heads(linear(x, f"{name}.{inner}.query"), [0, 2, 1, 3])
    k = split_heads(linear(x, f"{name}.{inner}.key"), [0, 2, 3, 1])
    v = split_heads(linear(x, f"{name}.{inner}.value"), [0, 2, 1, 3])
    scores = node("Div", node("MatMul", q, k), constant("root", np.array(head ** 0.5, np.float32)))
    mixed = node("Transpose", node("MatMul", node("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    return linear(node("Reshape", mixed, constant("rows", np.array([1, tokens, d], np.int64))), name + ".output.dense")


def gelu(x):
    part = node("Erf", node("Div", x, constant("sqrt2", np.array(2 ** 0.5, np.float32))))
    part = node("Mul", x, node("Add", part, constant("one", np.array(1, np.float32))))
    return node("Mul", part, constant("half", np.array(0.5, np.float32)))


def bert():
    words = node("Gather", constant("words", weights["embeddings.word_embeddings.weight"]), "ids")
    places = weights["embeddings.position_embeddings.weight"][:tokens] + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(node("Add", words, constant("places", places[None])), "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        x = norm(node("Add", attention(x, name + ".attention"), x), name + ".attention.output.LayerNorm")
        wide = gelu(linear(x, name + ".intermediate.dense"))
        x = norm(node("Add", linear(wide, name + ".output.dense"), x), name + ".output.LayerNorm")
    return x


def dinov2():
    patch, name = config["patch_size"], "embeddings.patch_embeddings.projection"
    kernel, bias = (constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    grid = node("Conv", "pixels", kernel, bias, kernel_shape=[patch, patch], strides=[patch, patch])
    rows = node("Reshape", grid, constant("columns", np.array([1, d, side * side], np.int64)))
    rows = node("Transpose", rows, perm=[0, 2, 1])
    x = node("Concat", constant("class", weights["embeddings.cls_token"]), rows, axis=1)
    places = resized(weights["embeddings.position_embeddings"][0], side)
    x = node("Add", x, constant("places", places[None]))
    scaled = lambda x, name: node("Mul", x, constant(name + ".lambda1", weights[name + ".lambda1"]))
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        mixed = attention(norm(x, name + ".norm1"), name + ".attention", "attention")
        x = node("Add", scaled(mixed, name + ".layer_scale1"), x)
        wide = gelu(linear(norm(x, name + ".norm2"), name + ".mlp.fc1"))
        x = node("Add", scaled(linear(wide, name + ".mlp.fc2"), name + ".layer_scale2"), x)
    return norm(x, "layernorm")


x = dinov2() if vision else bert()
nodes.append(helper.make_node("Identity", [x], ["hidden"]))
graph = helper.make_graph(
    nodes, "encoder",
    [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, size, size]) if vision else
     helper.make_tensor_value_info("ids", TensorProto.INT64, [1, tokens])],
    [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, tokens, d])],
    list(constants.values()))
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, out)
