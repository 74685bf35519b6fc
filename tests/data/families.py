#!/usr/bin/env python3
"""Writes families.json: tiny checkpoints of encoder families and their hidden states in float64.

    python3 families.py > families.json        (needs numpy alone)

Each forward pass is written here from the family's published definition and shares no code with
this project. Weights are not stored but made by a rule, here and in tests/families.rs: the tensors of a
checkpoint, sorted by name, have the numbers t = 0, 1, ...; value i of tensor t is
((37 i + 101 t) mod 256 - 128) / 256, plus 1 in the weights of norms. Every value is exact in f32.
"""

import json
import math

import numpy as np

D, LAYERS, HEADS, WIDE = 8, 2, 2, 12


def weights(shapes):
    made = {}
    for t, name in enumerate(sorted(shapes)):
        count = math.prod(shapes[name])
        values = ((37 * np.arange(count) + 101 * t) % 256 - 128) / 256
        made[name] = values.reshape(shapes[name]) + (1 if is_norm(name) else 0)
    return made


def is_norm(name):
    return "norm" in name.lower() and name.endswith(".weight")


def linear(w, name, x):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def norm(w, name, x, eps):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * w[name + ".weight"] + w[name + ".bias"]


def gelu(x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attention(w, names, x):
    q, k, v = (linear(w, name, x).reshape(len(x), HEADS, -1) for name in names[:3])
    scores = np.einsum("qhe,khe->hqk", q, k) / math.sqrt(D // HEADS)
    share = np.exp(scores - scores.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    return linear(w, names[3], np.einsum("hqk,khe->qhe", share, v).reshape(len(x), D))


def map_shapes(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm_shapes(name):
    return {f"{name}.weight": (D,), f"{name}.bias": (D,)}


def layer_shapes(prefix, maps, norms):
    shapes = {}
    for name in maps[:4]:
        shapes |= map_shapes(prefix + name, D, D)
    shapes |= map_shapes(prefix + maps[4], WIDE, D) | map_shapes(prefix + maps[5], D, WIDE)
    for name in norms:
        shapes |= norm_shapes(prefix + name)
    return shapes


def post_norm(w, x, layer, maps, norms, eps):
    """x = norm(x + attention(x)); x = norm(x + feed_forward(x))."""
    for i in range(LAYERS):
        m, n = [f"{layer}.{i}.{s}" for s in maps], [f"{layer}.{i}.{s}" for s in norms]
        x = norm(w, n[0], x + attention(w, m[:4], x), eps)
        x = norm(w, n[1], x + linear(w, m[5], gelu(linear(w, m[4], x))), eps)
    return x


def pre_norm(w, x, layer, maps, norms, eps):
    """x = x + attention(norm(x)); x = x + feed_forward(norm(x))."""
    for i in range(LAYERS):
        m, n = [f"{layer}.{i}.{s}" for s in maps], [f"{layer}.{i}.{s}" for s in norms]
        x = x + attention(w, m[:4], norm(w, n[0], x, eps))
        x = x + linear(w, m[5], gelu(linear(w, m[4], norm(w, n[1], x, eps))))
    return x


def layers_of(prefix, maps, norms):
    shapes = {}
    for i in range(LAYERS):
        shapes |= layer_shapes(f"{prefix}.{i}.", maps, norms)
    return shapes


def distilbert():
    maps = [f"attention.{m}_lin" for m in ("q", "k", "v", "out")] + ["ffn.lin1", "ffn.lin2"]
    norms, p = ["sa_layer_norm", "output_layer_norm"], "distilbert."
    shapes = {
        p + "embeddings.word_embeddings.weight": (16, D),
        p + "embeddings.position_embeddings.weight": (9, D),
        **norm_shapes(p + "embeddings.LayerNorm"),
        **layers_of(p + "transformer.layer", maps, norms),
        **map_shapes("pre_classifier", D, D),
        **map_shapes("classifier", 2, D),
    }
    config = {
        "model_type": "distilbert", "dim": D, "n_layers": LAYERS, "n_heads": HEADS,
        "hidden_dim": WIDE, "vocab_size": 16, "max_position_embeddings": 9,
        "activation": "gelu", "sinusoidal_pos_embds": False,
    }
    ids, w = [2, 11, 0, 15, 7, 3], weights(shapes)
    x = w[p + "embeddings.word_embeddings.weight"][ids]
    x = x + w[p + "embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(w, p + "embeddings.LayerNorm", x, 1e-12)
    x = post_norm(w, x, p + "transformer.layer", maps, norms, 1e-12)
    return {"config": config, "shapes": shapes, "ids": ids, "hidden": x}


def roberta():
    maps = [f"attention.self.{m}" for m in ("query", "key", "value")]
    maps += ["attention.output.dense", "intermediate.dense", "output.dense"]
    norms, p = ["attention.output.LayerNorm", "output.LayerNorm"], "roberta."
    shapes = {
        p + "embeddings.word_embeddings.weight": (16, D),
        p + "embeddings.position_embeddings.weight": (9, D),
        p + "embeddings.token_type_embeddings.weight": (1, D),
        **norm_shapes(p + "embeddings.LayerNorm"),
        **layers_of(p + "encoder.layer", maps, norms),
    }
    config = {
        "model_type": "roberta", "hidden_size": D, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": WIDE, "vocab_size": 16,
        "max_position_embeddings": 9, "type_vocab_size": 1, "hidden_act": "gelu",
        "layer_norm_eps": 1e-5, "pad_token_id": 1,
    }
    # As many as there are: positions 2 to 8.
    ids, w = [0, 11, 5, 15, 7, 9, 2], weights(shapes)
    x = w[p + "embeddings.word_embeddings.weight"][ids]
    x = x + w[p + "embeddings.position_embeddings.weight"][2:]
    x = x + w[p + "embeddings.token_type_embeddings.weight"][0]
    x = norm(w, p + "embeddings.LayerNorm", x, 1e-5)
    x = post_norm(w, x, p + "encoder.layer", maps, norms, 1e-5)
    return {"config": config, "shapes": shapes, "ids": ids, "hidden": x}


def turned(x, rates):
    """Column i and i + half of each head, turned by position times rate i; `[tokens, heads, columns]`."""
    angles = np.arange(len(x))[:, None, None] * rates
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)


def gte():
    """`NewModel` of Alibaba-NLP/new-impl: packed projections, up before gate, NTK-scaled rotary positions."""
    shapes = {"new.embeddings.word_embeddings.weight": (16, D),
              "new.embeddings.token_type_embeddings.weight": (1, D), **norm_shapes("new.embeddings.LayerNorm")}
    for i in range(LAYERS):
        p = f"new.encoder.layer.{i}."
        shapes |= map_shapes(p + "attention.qkv_proj", 3 * D, D) | map_shapes(p + "attention.o_proj", D, D)
        shapes |= map_shapes(p + "mlp.down_proj", D, WIDE) | norm_shapes(p + "attn_ln") | norm_shapes(p + "mlp_ln")
        shapes[p + "mlp.up_gate_proj.weight"] = (2 * WIDE, D)
    config = {
        "model_type": "new", "hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "intermediate_size": WIDE, "vocab_size": 16, "max_position_embeddings": 9, "type_vocab_size": 1,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "layer_norm_type": "layer_norm", "pack_qkv": True,
        "position_embedding_type": "rope", "rope_theta": 50.0, "rope_scaling": {"type": "ntk", "factor": 2.0},
        "auto_map": {"AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel"},
    }
    ids, w, width = [0, 11, 5, 15, 7, 9, 2], weights(shapes), D // HEADS
    rates = (50.0 * 2.0) ** (-np.arange(0, width, 2) / width) / 2.0 ** (2 / width)
    x = w["new.embeddings.word_embeddings.weight"][ids] + w["new.embeddings.token_type_embeddings.weight"][0]
    x = norm(w, "new.embeddings.LayerNorm", x, 1e-12)
    for i in range(LAYERS):
        p = f"new.encoder.layer.{i}."
        q, k, v = (part.reshape(len(x), HEADS, -1) for part in np.split(linear(w, p + "attention.qkv_proj", x), 3, -1))
        scores = np.einsum("qhe,khe->hqk", turned(q, rates), turned(k, rates)) / math.sqrt(width)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khe->qhe", share, v).reshape(len(x), D)
        x = norm(w, p + "attn_ln", x + linear(w, p + "attention.o_proj", mixed), 1e-12)
        up, gate = np.split(x @ w[p + "mlp.up_gate_proj.weight"].T, 2, -1)
        x = norm(w, p + "mlp_ln", x + linear(w, p + "mlp.down_proj", gelu(gate) * up), 1e-12)
    return {"config": config, "shapes": shapes, "ids": ids, "hidden": x}


def vit(height, width, class_token):
    maps = [f"attention.attention.{m}" for m in ("query", "key", "value")]
    maps += ["attention.output.dense", "intermediate.dense", "output.dense"]
    norms, p, side, channels = ["layernorm_before", "layernorm_after"], "vit.", 2, 3
    rows, columns = height // side, width // side
    tokens = rows * columns + class_token
    shapes = {
        p + "embeddings.patch_embeddings.projection.weight": (D, channels, side, side),
        p + "embeddings.patch_embeddings.projection.bias": (D,),
        p + "embeddings.position_embeddings": (1, tokens, D),
        **layers_of(p + "encoder.layer", maps, norms),
        **norm_shapes(p + "layernorm"),
        **map_shapes("classifier", 3, D),
    }
    if class_token:
        shapes[p + "embeddings.cls_token"] = (1, 1, D)
    config = {
        "model_type": "vit", "hidden_size": D, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": WIDE, "hidden_act": "gelu",
        "layer_norm_eps": 1e-6, "num_channels": channels, "patch_size": side,
        "image_size": height if height == width else [height, width],
    }
    w = weights(shapes)
    pixels = [i * 37 % 251 for i in range(height * width * channels)]
    image = (np.array(pixels).reshape(height, width, channels) / 255 - 0.5) / 0.25
    patches = [
        image[side * r : side * r + side, side * c : side * c + side].transpose(2, 0, 1)
        for r in range(rows)
        for c in range(columns)
    ]
    kernel = w[p + "embeddings.patch_embeddings.projection.weight"]
    x = np.array([[(patch * k).sum() for k in kernel] for patch in patches])
    x = x + w[p + "embeddings.patch_embeddings.projection.bias"]
    if class_token:
        x = np.concatenate([w[p + "embeddings.cls_token"][0], x])
    x = x + w[p + "embeddings.position_embeddings"][0]
    x = norm(w, p + "layernorm", pre_norm(w, x, p + "encoder.layer", maps, norms, 1e-6), 1e-6)
    answer = linear(w, "classifier", x[0] if class_token else x.mean(0))
    return {"config": config, "shapes": shapes, "pixels": pixels, "hidden": x, "answer": answer}


def plain(value):
    if isinstance(value, np.ndarray):
        return [float(f"{x:.9g}") for x in value.flatten()]
    return value


CASES = {
    "distilbert": distilbert(),
    "roberta": roberta(),
    "gte": gte(),
    "vit-rectangle": vit(4, 8, True),
    "vit-without-class-token": vit(4, 4, False),
}
text = {n: {k: plain(v) for k, v in case.items()} for n, case in CASES.items()}
lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in text.items()]
print("{\n" + ",\n".join(lines) + "\n}")
