"""Writes a BERT directory for llama.cpp: export_gguf.py DIR OUT.gguf f32|q8_0

Word embeddings and linear maps as asked for, all else f32. Inputs are token ids, so the vocabulary's texts do not matter.
"""
import sys
import gguf
from source import read

directory, out, kind = sys.argv[1:]
config, weights, _, _ = read(directory, 0)
writer = gguf.GGUFWriter(out, "bert")
writer.add_block_count(config["num_hidden_layers"])
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(config["hidden_size"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(config["num_attention_heads"])
writer.add_layer_norm_eps(config["layer_norm_eps"])
writer.add_causal_attention(False)
writer.add_pooling_type(gguf.PoolingType.NONE)
writer.add_tokenizer_model("bert")
writer.add_token_list([f"\u2581{index}" for index in range(config["vocab_size"])])
writer.add_token_type_count(config["type_vocab_size"])
writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])
quantisation = {"f32": gguf.GGMLQuantizationType.F32, "q8_0": gguf.GGMLQuantizationType.Q8_0}[kind]


def add(name, source, matrix=False):
    value = weights[source]
    if matrix and quantisation != gguf.GGMLQuantizationType.F32:
        writer.add_tensor(name, gguf.quants.quantize(value, quantisation), raw_dtype=quantisation)
    else:
        writer.add_tensor(name, value)


def both(name, source):
    add(name + ".weight", source + ".weight", weights[source + ".weight"].ndim == 2)
    add(name + ".bias", source + ".bias")


add("token_embd.weight", "embeddings.word_embeddings.weight", True)
add("position_embd.weight", "embeddings.position_embeddings.weight")
add("token_types.weight", "embeddings.token_type_embeddings.weight")
both("token_embd_norm", "embeddings.LayerNorm")
for layer in range(config["num_hidden_layers"]):
    ours, theirs = f"blk.{layer}", f"encoder.layer.{layer}"
    for short, long in (("q", "query"), ("k", "key"), ("v", "value")):
        both(f"{ours}.attn_{short}", f"{theirs}.attention.self.{long}")
    both(f"{ours}.attn_output", f"{theirs}.attention.output.dense")
    both(f"{ours}.attn_output_norm", f"{theirs}.attention.output.LayerNorm")
    both(f"{ours}.ffn_up", f"{theirs}.intermediate.dense")
    both(f"{ours}.ffn_down", f"{theirs}.output.dense")
    both(f"{ours}.layer_output_norm", f"{theirs}.output.LayerNorm")
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
