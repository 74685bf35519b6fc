#!/usr/bin/env python3
"""Packs and runs tiny models that `transformers` itself made, and compares the answers with its own.

    python3 corpus.py --coda ../target/release/coda [NAME ...]     prints a table; status 1 if a row is wrong
    python3 corpus.py --fixtures > data/families_transformers.json (what tests/families.rs reads)

Needs torch and transformers, so it is no part of the default tests. Every case is an architecture of
transformers with its own names of fields and tensors, reduced in width and saved by `save_pretrained`.
Weights are made by the rule of data/families.py. A case must either give the hidden states of
transformers (computed in float64) to 1e-4 of their largest value, pooled as `POOLING` says, or be
refused with all the words of `refused`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

D, IDS = 8, [0, 11, 5, 15, 7, 9, 2]
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat ##s on mat . a dog ##t !".split()
SENTENCE = "The cats sat on Mat!"
SIZES = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
TEXT = SIZES | {"vocab_size": 16, "max_position_embeddings": 9}
LATE = TEXT | {"max_position_embeddings": 11, "pad_token_id": 1}
IMAGE = SIZES | {"image_size": 4, "patch_size": 2}
DINO = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2,
        "image_size": 4, "patch_size": 2}
BEIT = IMAGE | {"use_relative_position_bias": True}
T5 = {"d_model": D, "d_kv": 6, "d_ff": 12, "num_layers": 2, "num_heads": 2, "vocab_size": 16,
      "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}
# The last id, 3, is that of the end of a text.
CLIP_TEXT, CLIP_IDS = TEXT | {"eos_token_id": 3}, [0, 11, 5, 15, 7, 9, 3]
MODERN = TEXT | {"num_hidden_layers": 4, "local_attention": 4, "pad_token_id": 0}
EURO = TEXT | {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1}
SOUND = SIZES | {"max_length": 8, "num_mel_bins": 6, "patch_size": 4, "frequency_stride": 2, "time_stride": 2}
MEAN, STD = 0.5, 0.25


@dataclass
class Case:
    name: str
    model: str
    settings: dict
    refused: list = field(default_factory=list)
    logits: bool = False
    vision: bool = False
    post: str = ""
    tower: str = ""
    runs: dict = field(default_factory=dict)
    class_head: bool = False
    # The tokenizer whose ids of SENTENCE are read, in place of IDS.
    words: str = ""
    fixture: bool = True
    ids: list = field(default_factory=lambda: IDS)
    # The answer is the vector that the model itself pools.
    pooler: bool = False
    options: list = field(default_factory=list)
    # It reads a spectrogram, of which the command is given the patches.
    sound: bool = False


def sound(name, model, settings=SOUND, **more):
    return Case(name, model, settings, sound=True, **more)


def text(name, model, settings=TEXT, **more):
    return Case(name, model, settings, **more)


def image(name, model, settings=IMAGE, **more):
    return Case(name, model, settings, vision=True, **more)


CASES = [
    text("bert", "BertModel", fixture=False, words="BertTokenizer"),
    text("bert-relu", "BertModel", TEXT | {"hidden_act": "relu"}, fixture=False),
    text("bert-silu", "BertModel", TEXT | {"hidden_act": "silu"}),
    text("bert-mish", "BertModel", TEXT | {"hidden_act": "mish"}, refused=["hidden_act = mish"]),
    text("bert-classifier", "BertForSequenceClassification", TEXT | {"num_labels": 3}, logits=True,
         fixture=False, words="BertTokenizer"),
    text("bert-value", "BertForSequenceClassification", TEXT | {"num_labels": 1}, logits=True,
         fixture=False),
    text("bert-tokens", "BertForTokenClassification", TEXT | {"num_labels": 3}, logits=True,
         words="BertTokenizer"),
    text("roberta-tokens", "RobertaForTokenClassification", LATE | {"num_labels": 3}, logits=True),
    text("xlm-roberta-tokens", "XLMRobertaForTokenClassification", LATE | {"num_labels": 3},
         logits=True, fixture=False),
    text("distilbert-tokens", "DistilBertForTokenClassification", {
        "dim": D, "n_layers": 2, "n_heads": 2, "hidden_dim": 12, "vocab_size": 16,
        "max_position_embeddings": 9, "num_labels": 3}, logits=True, fixture=False),
    text("electra-tokens", "ElectraForTokenClassification", TEXT | {"embedding_size": D, "num_labels": 3},
         logits=True, fixture=False),
    text("albert-tokens", "AlbertForTokenClassification", TEXT | {"embedding_size": 4, "num_labels": 3},
         logits=True, fixture=False),
    text("mpnet-tokens", "MPNetForTokenClassification", LATE | {"num_labels": 3}, logits=True,
         fixture=False),
    text("rembert-tokens", "RemBertForTokenClassification",
         TEXT | {"input_embedding_size": 4, "num_labels": 3}, logits=True, fixture=False),
    text("t5-tokens", "T5ForTokenClassification", T5 | {"num_labels": 3}, logits=True, fixture=False),
    text("bert-questions", "BertForQuestionAnswering",
         refused=["BertForQuestionAnswering", "qa_outputs"]),
    text("roberta-classifier", "RobertaForSequenceClassification", LATE | {"num_labels": 3},
         logits=True, fixture=False),
    text("electra-classifier", "ElectraForSequenceClassification",
         TEXT | {"embedding_size": D, "num_labels": 3}, logits=True, fixture=False),
    text("mpnet-classifier", "MPNetForSequenceClassification", LATE | {"num_labels": 3}, logits=True,
         fixture=False),
    text("albert-classifier", "AlbertForSequenceClassification",
         TEXT | {"embedding_size": 4, "num_labels": 3}, logits=True, fixture=False),
    text("distilbert-classifier", "DistilBertForSequenceClassification", {
        "dim": D, "n_layers": 2, "n_heads": 2, "hidden_dim": 12, "vocab_size": 16,
        "max_position_embeddings": 9, "num_labels": 3}, logits=True, fixture=False),
    image("dinov2-classifier", "Dinov2ForImageClassification", DINO | {"num_labels": 3}, logits=True,
          fixture=False),
    text("roberta", "RobertaModel", LATE, fixture=False),
    text("xlm-roberta", "XLMRobertaModel", LATE | {"type_vocab_size": 1}, fixture=False),
    text("camembert", "CamembertModel", LATE | {"type_vocab_size": 1}),
    text("data2vec-text", "Data2VecTextModel", LATE | {"type_vocab_size": 1}),
    text("distilbert", "DistilBertModel", {
        "dim": D, "n_layers": 2, "n_heads": 2, "hidden_dim": 12, "vocab_size": 16,
        "max_position_embeddings": 9}, fixture=False, words="DistilBertTokenizer"),
    text("electra", "ElectraModel", TEXT | {"embedding_size": D}, words="ElectraTokenizer"),
    text("electra-small", "ElectraModel", TEXT | {"embedding_size": 4}),
    text("electra-generator", "ElectraModel", TEXT | {"embedding_size": 12},
         refused=["embedding_size = 12"]),
    text("ernie", "ErnieModel"),
    text("ernie-task", "ErnieModel", TEXT | {"use_task_id": True, "task_type_vocab_size": 3},
         refused=["use_task_id = true"]),
    text("mpnet", "MPNetModel", LATE),
    text("mpnet-buckets", "MPNetModel", LATE | {"relative_attention_num_buckets": 40},
         refused=["relative_attention_num_buckets = 40"]),
    text("albert", "AlbertModel", TEXT | {"embedding_size": 4}),
    text("albert-wide", "AlbertModel", TEXT | {"embedding_size": D, "hidden_act": "gelu"}),
    text("albert-groups", "AlbertModel", TEXT | {"embedding_size": 4, "num_hidden_groups": 2},
         refused=["num_hidden_groups = 2"]),
    text("rembert", "RemBertModel", TEXT | {"input_embedding_size": 4}),
    text("roberta-prelayernorm", "RobertaPreLayerNormModel", LATE),
    text("megatron-bert", "MegatronBertModel"),
    text("splinter", "SplinterModel", fixture=False),
    text("t5", "T5EncoderModel", T5),
    text("t5-gated", "T5EncoderModel", T5 | {"feed_forward_proj": "gated-gelu"}, fixture=False),
    text("mt5", "MT5EncoderModel", T5 | {"feed_forward_proj": "gated-gelu"}, fixture=False),
    text("umt5", "UMT5EncoderModel", T5 | {"feed_forward_proj": "gated-gelu"}),
    text("modernbert", "ModernBertModel", MODERN),
    text("modernbert-one-angle", "ModernBertModel",
         MODERN | {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "rope_parameters": {
             kind: {"rope_type": "default", "rope_theta": 50.0}
             for kind in ("full_attention", "sliding_attention")}}),
    text("modernbert-global", "ModernBertModel", MODERN | {"layer_types": ["full_attention"] * 4},
         fixture=False),
    text("modernbert-pattern", "ModernBertModel",
         MODERN | {"layer_types": ["sliding_attention"] + ["full_attention"] * 3},
         refused=["layer_types = sliding_attention, full_attention"]),
    text("modernbert-scaled", "ModernBertModel", MODERN | {"rope_parameters": {
        "full_attention": {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 3,
                           "rope_theta": 50.0, "beta_fast": 0.3, "beta_slow": 0.05},
        "sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0}}}),
    text("modernbert-dynamic", "ModernBertModel", MODERN | {"rope_parameters": {
        kind: {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 50.0}
        for kind in ("full_attention", "sliding_attention")}}, refused=["rope_parameters = ", "dynamic"]),
    text("modernbert-classifier", "ModernBertForSequenceClassification", MODERN | {"num_labels": 3},
         logits=True),
    text("modernbert-classifier-mean", "ModernBertForSequenceClassification",
         MODERN | {"num_labels": 3, "classifier_pooling": "mean", "classifier_bias": True,
                   "norm_bias": True}, logits=True),
    text("modernbert-classifier-relu", "ModernBertForSequenceClassification",
         MODERN | {"classifier_activation": "relu"}, refused=["classifier_activation", "relu"]),
    text("modernbert-tokens", "ModernBertForTokenClassification", MODERN | {"num_labels": 3},
         refused=["a head of tokens is a classifier alone"]),
    text("nomic-bert", "NomicBertModel", TEXT | {"pad_token_id": 0}),
    text("nomic-bert-yarn", "NomicBertModel", TEXT | {"pad_token_id": 0, "rope_parameters": {
        "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4, "rope_theta": 20.0,
        "beta_fast": 0.4, "beta_slow": 0.02, "mscale": 0.7, "mscale_all_dim": 1.3, "truncate": False}}),
    text("eurobert", "EuroBertModel", EURO),
    text("eurobert-llama3", "EuroBertModel", EURO | {"num_attention_heads": 1, "rope_parameters": {
        "rope_type": "llama3", "factor": 4.0, "original_max_position_embeddings": 8, "rope_theta": 300.0,
        "low_freq_factor": 0.2, "high_freq_factor": 0.9}}),
    text("eurobert-shared-keys", "EuroBertModel", EURO | {"num_key_value_heads": 1},
         refused=["num_key_value_heads = 1"]),
    text("deberta", "DebertaModel", refused=["model_type = deberta ", "relative position"]),
    text("deberta-v2", "DebertaV2Model", refused=["deberta-v2", "relative position"]),
    text("xlnet", "XLNetModel", {"vocab_size": 16, "d_model": D, "n_layer": 2, "n_head": 2, "d_inner": 12},
         refused=["xlnet"]),
    text("gpt2", "GPT2Model", {"vocab_size": 16, "n_embd": D, "n_layer": 2, "n_head": 2,
                               "n_positions": 9}, refused=["gpt2", "decoder"]),
    text("clip-text", "CLIPTextModel", CLIP_TEXT, ids=CLIP_IDS, pooler=True),
    text("siglip-text", "SiglipTextModel", TEXT | {"projection_size": 5}, pooler=True),
    text("clip-tower-text", "CLIPModel", {"vision_config": IMAGE, "text_config": CLIP_TEXT}, ids=CLIP_IDS,
         tower="text_model", pooler=True, options=["--tower", "text"], fixture=False),
    text("siglip-tower-text", "SiglipModel", {"vision_config": IMAGE, "text_config": TEXT},
         tower="text_model", pooler=True, options=["--tower", "text"], fixture=False),
    text("bert-tower-text", "BertModel", options=["--tower", "text"], refused=["bert", "--tower"]),
    image("vit", "ViTModel", fixture=False),
    image("vit-classifier", "ViTForImageClassification", IMAGE | {"num_labels": 3}, logits=True),
    image("vit-msn", "ViTMSNModel"),
    image("vit-mae", "ViTMAEModel", IMAGE | {"mask_ratio": 0.0},
          runs={"noise": torch.arange(4.0).reshape(1, 4)}),
    image("ijepa", "IJepaModel"),
    image("deit", "DeiTModel", fixture=False),
    image("deit-classifier", "DeiTForImageClassification", IMAGE | {"num_labels": 3}, logits=True),
    # The mean of two classifiers.
    image("deit-teacher", "DeiTForImageClassificationWithTeacher", IMAGE | {"num_labels": 3},
          logits=True),
    image("dinov2-registers-classifier", "Dinov2WithRegistersForImageClassification",
          DINO | {"num_register_tokens": 3, "num_labels": 3}, logits=True),
    image("dinov2", "Dinov2Model", DINO, class_head=True),
    image("dinov2-swiglu", "Dinov2Model", DINO | {"use_swiglu_ffn": True}, class_head=True),
    image("dinov2-registers", "Dinov2WithRegistersModel", DINO | {"num_register_tokens": 3},
          class_head=True),
    image("dinov3", "DINOv3ViTModel", IMAGE | {"num_register_tokens": 2}, post="norm", class_head=True),
    image("dinov3-gated", "DINOv3ViTModel",
          IMAGE | {"image_size": 6, "num_attention_heads": 1, "use_gated_mlp": True, "hidden_act": "silu",
                   "layerscale_value": 0.5, "key_bias": True, "mlp_bias": False}, post="norm", class_head=True),
    image("dinov3-odd", "DINOv3ViTModel", IMAGE | {"num_attention_heads": 4},
          refused=["num_attention_heads = 4"]),
    image("beit", "BeitModel", BEIT, pooler=True),
    image("beit-classifier", "BeitForImageClassification", BEIT | {"num_labels": 3}, logits=True),
    image("beit-shared", "BeitModel", IMAGE | {"use_shared_relative_position_bias": True}, pooler=True),
    image("beit-class-token", "BeitModel", BEIT | {"use_mean_pooling": False}, pooler=True),
    image("beit-absolute", "BeitModel", IMAGE | {"use_absolute_position_embeddings": True}, pooler=True),
    image("beit-both", "BeitModel", BEIT | {"use_shared_relative_position_bias": True},
          refused=["use_shared_relative_position_bias = true"]),
    image("data2vec-vision", "Data2VecVisionForImageClassification", BEIT | {"num_labels": 3}, logits=True),
    image("swin", "SwinModel", {"image_size": 8, "patch_size": 2, "embed_dim": 8, "depths": [1, 1],
                                "num_heads": [2, 2], "window_size": 2}, refused=["swin", "only some"]),
    image("clip-vision", "CLIPVisionModel", post="post_layernorm", class_head=True),
    image("siglip-vision", "SiglipVisionModel", pooler=True),
    image("siglip", "SiglipModel", {"vision_config": IMAGE, "text_config": TEXT}, tower="vision_model",
          pooler=True, fixture=False),
    image("clip", "CLIPModel", {"vision_config": IMAGE, "text_config": TEXT}, tower="vision_model",
          post="post_layernorm", class_head=True),
    image("siglip-vision-states", "SiglipVisionModel", IMAGE | {"vision_use_head": False}),
    sound("ast", "ASTModel", pooler=True),
    sound("ast-classifier", "ASTForAudioClassification", SOUND | {"num_labels": 3}, logits=True),
]


def made(shapes):
    """The weights of data/families.py."""
    weights = {}
    for t, name in enumerate(sorted(shapes)):
        count = math.prod(shapes[name])
        values = ((37 * np.arange(count) + 101 * t) % 256 - 128) / 256
        norm = "norm" in name.lower() and name.endswith(".weight")
        weights[name] = np.array(values.reshape(shapes[name]) + norm, np.float32)
    return weights


def model_of(case, directory):
    """A directory as transformers writes it, and its model as transformers reads it."""
    kind = getattr(transformers, case.model)
    config = kind.config_class(**case.settings)
    torch.manual_seed(0)
    kind(config).save_pretrained(directory)
    path = directory / "model.safetensors"
    shapes = {name: tensor.shape for name, tensor in load_file(path).items()}
    save_file(made(shapes), path, metadata={"format": "pt"})
    model = kind.from_pretrained(directory).double().eval()
    return (model.get_submodule(case.tower) if case.tower else model), shapes


def pixels_of(config):
    side = config.image_size
    return [i * 37 % 251 for i in range(side * side * 3)], side


def spectrogram_of(config):
    """A spectrogram `[time, mel]`, and its patches as the projection reads them, frequency by frequency."""
    shape = (config.max_length, config.num_mel_bins)
    values = ((37 * np.arange(math.prod(shape)) % 251 - 125) / 128).reshape(shape)
    patches = torch.nn.functional.unfold(
        torch.from_numpy(values.T[None, None].copy()), config.patch_size,
        stride=(config.frequency_stride, config.time_stride))
    return values, patches[0].T.numpy().flatten().tolist()


def ids_of(case, directory):
    """The ids that the case reads, of a tokenizer that is saved beside the model if it has one."""
    if not case.words:
        return case.ids
    (directory / "words.txt").write_text("\n".join(WORDS) + "\n")
    tokenizer = getattr(transformers, case.words)(str(directory / "words.txt"))
    tokenizer.save_pretrained(directory)
    (directory / "words.txt").unlink()
    return transformers.AutoTokenizer.from_pretrained(directory)(SENTENCE)["input_ids"]


@torch.no_grad()
def reference(case, model, ids):
    """Hidden states `[n, d]`, logits or nothing, and the pixels."""
    kept = {}
    getattr(model, "base_model", model).register_forward_hook(lambda *a: kept.update(states=a[2].last_hidden_state))
    if case.vision:
        pixels, side = pixels_of(model.config)
        values = (np.array(pixels).reshape(side, side, 3) / 255 - MEAN) / STD
        values = torch.from_numpy(values.transpose(2, 0, 1)[None])
        out = model(pixel_values=values, **case.runs)
    elif case.sound:
        values, pixels = spectrogram_of(model.config)
        out = model(input_values=torch.from_numpy(values[None]))
    else:
        pixels, out = [], model(input_ids=torch.tensor([ids]), **case.runs)
    states = kept["states"]
    if case.post:
        found = [module for name, module in model.named_modules() if name.endswith(case.post)]
        states = found[0](states)
    logits = out.logits[0].numpy() if case.logits else np.array([])
    if case.pooler:
        logits = out.pooler_output[0].numpy()
    return states[0].numpy(), logits, pixels


def write_beside(case, directory):
    """What the command needs beside the model: normalisation, and a pooling where there is no head."""
    write = lambda name, value: (directory / name).write_text(json.dumps(value))
    if case.vision:
        write("preprocessor_config.json", {"image_mean": [MEAN] * 3, "image_std": [STD] * 3})
    if not (case.logits or case.pooler or case.class_head or case.refused):
        (directory / "1_Pooling").mkdir()
        write("1_Pooling/config.json", {"word_embedding_dimension": D, "pooling_mode_mean_tokens": True,
                                        "pooling_mode_cls_token": False})
        module = "sentence_transformers.models."
        write("modules.json", [
            {"idx": 0, "name": "0", "path": "", "type": module + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": module + "Pooling"}])


def write_ppm(path, pixels, side):
    path.write_bytes(b"P6\n%d %d\n255\n" % (side, side) + bytes(pixels))


def write_ids(case, directory):
    path = directory / "ids.safetensors"
    whole = {"input_ids": [case.ids], "lengths": [len(case.ids)], "labels": [0]}
    save_file({name: np.array(values, np.int32) for name, values in whole.items()}, path)
    return path


def command(coda, *arguments):
    return subprocess.run([coda, *map(str, arguments)], capture_output=True, text=True)


def compare(coda, case, directory):
    """What happened, and whether it is right."""
    model, _ = model_of(case, directory)
    write_beside(case, directory)
    ids = ids_of(case, directory)
    package = directory / "model.coda"
    packed = command(coda, "pack", "--base", directory, "--weights", "f32", "-o", package, *case.options)
    if packed.returncode != 0:
        message = packed.stderr.strip().splitlines()[-1]
        right = bool(case.refused) and all(word in message for word in case.refused)
        return "refused: " + message.replace(str(directory) + "/", ""), right
    states, logits, pixels = reference(case, model, ids)
    answer = logits.flatten() if case.logits or case.pooler else states[0] if case.class_head else states.mean(0)
    given = ["--text", SENTENCE] if case.words else ["--ids", ",".join(map(str, ids))]
    if case.vision:
        write_ppm(directory / "image.ppm", pixels, model.config.image_size)
        given = ["--image", directory / "image.ppm"]
    if case.sound:
        np.array(pixels, "<f4").tofile(directory / "patches.f32")
        given = ["--patches", directory / "patches.f32"]
    worst, tables = 0.0, ["scalar", None]
    for table in tables:
        ran = command(coda, "run", package, *given, "--json", *(["--kernels", table] if table else []))
        if ran.returncode != 0:
            return ran.stderr.strip().splitlines()[-1], False
        values = np.array(json.loads(ran.stdout)["values"])
        if values.shape != answer.shape:
            return f"{values.shape} values in place of {answer.shape}", False
        worst = max(worst, np.abs(values - answer).max() / np.abs(answer).max())
    read = ["--images", directory / "image.ppm"] if case.vision else ["--data", write_ids(case, directory)]
    verified = command(coda, "verify", "--base", directory, "--weights", "f32", *read, *case.options)
    # No command reads a spectrogram's patches but `run`.
    known = verified.returncode == 0 or case.sound
    right = worst < 1e-4 and not case.refused and known
    said = "" if known else "; verify: " + (verified.stderr + verified.stdout).strip().splitlines()[-1]
    return f"{worst:.1e} of scale{said}", right


def corpus(coda, names):
    wrong = 0
    for case in CASES:
        if names and case.name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                what, right = compare(coda, case, Path(folder))
            except Exception as error:
                what, right = f"{type(error).__name__}: {error}"[:200], False
        wrong += not right
        print(f"{'ok   ' if right else 'WRONG'} {case.name:22} {what}", flush=True)
    return wrong


def fixtures(names):
    lines = []
    for case in CASES:
        if case.refused or not case.fixture or (names and case.name not in names):
            continue
        with tempfile.TemporaryDirectory() as folder:
            model, shapes = model_of(case, Path(folder))
            config = json.loads((Path(folder) / "config.json").read_text())
        states, logits, pixels = reference(case, model, case.ids)
        plain = lambda values: [float(f"{x:.9g}") for x in values.flatten()]
        fixture = {"config": config, "shapes": {n: list(s) for n, s in shapes.items()},
                   "ids": [] if case.vision or case.sound else case.ids,
                   "patches" if case.sound else "pixels": pixels,
                   "hidden": plain(states), "answer": plain(logits)}
        lines.append(f"{json.dumps(case.name)}: {json.dumps(fixture)}")
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coda", default="coda", help="the command")
    parser.add_argument("--fixtures", action="store_true", help="write data/families_transformers.json")
    parser.add_argument("names", nargs="*", help="cases; all if none is named")
    given = parser.parse_args()
    if given.fixtures:
        fixtures(given.names)
    else:
        sys.exit(1 if corpus(given.coda, given.names) else 0)
