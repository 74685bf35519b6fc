#!/usr/bin/env python3
"""Compares the embeddings of `coda` with those of `transformers` on many texts of any length.

    python3 sentence.py --coda ../target/release/coda [--base DIR] [--data FILE.tsv] [--texts N]

A heavier run, no part of the default tests: it needs torch and transformers, and the model and texts that
fetch.sh fetches (all-MiniLM-L6-v2, 20 Newsgroups). The reference is what sentence-transformers computes of
such a directory: the tokenizer's own cut at `max_seq_length`, the mean over the tokens, length 1. Prints the
smallest and the median cosine for f32 and int8 weights; status 1 if one is below its bound, or if another
number of texts was cut.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "coda-edge"
# The smallest cosine that each kind of weights may have.
BOUNDS = {"f32": 0.9999, "int8": 0.995}
BATCH = 16


def read_texts(path, count):
    """The second column of the first rows, each on one line."""
    with open(path, encoding="utf-8") as file:
        texts = [" ".join(line.rstrip("\n").split("\t")[1].split()) for line in file]
    texts = [text for text in texts if text][:count]
    if len(texts) < count:
        sys.exit(f"{path} has {len(texts)} texts, not {count}")
    return texts


def read_json(path):
    return json.loads(path.read_text())


def check_modules(base):
    """Refuses a directory that is not a mean of length 1: the reference here computes nothing else."""
    kinds = [module["type"].rsplit(".", 1)[-1] for module in read_json(base / "modules.json")]
    pooling = read_json(base / "1_Pooling" / "config.json")
    modes = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on]
    if kinds != ["Transformer", "Pooling", "Normalize"] or modes != ["pooling_mode_mean_tokens"]:
        sys.exit(f"{base} has the modules {kinds} and the poolings {modes}")


def reference(base, texts):
    """Embeddings `[texts, d]` of transformers, and how many texts it cut."""
    check_modules(base)
    longest = read_json(base / "sentence_bert_config.json")["max_seq_length"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModel.from_pretrained(base).eval()
    whole = [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
    # Texts of one length are computed together, so that little is padded.
    order = np.argsort(whole, kind="stable")
    found = np.zeros((len(texts), model.config.hidden_size))
    for start in range(0, len(texts), BATCH):
        own = order[start : start + BATCH]
        inputs = tokenizer([texts[i] for i in own], truncation=True, max_length=longest, padding=True,
                           return_tensors="pt")
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        found[own] = torch.nn.functional.normalize(mean).double().numpy()
    return found, sum(length > longest for length in whole)


def packed(coda, base, weights, texts, folder):
    """Embeddings `[texts, d]` of a package, and how many texts were cut."""
    package, lines = folder / f"{weights}.coda", folder / "texts.txt"
    lines.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    subprocess.run([coda, "pack", "--base", base, "--weights", weights, "-o", package], check=True,
                   stdout=subprocess.DEVNULL)
    run = subprocess.run([coda, "run", package, "--texts", lines, "--json"], check=True,
                         stdout=subprocess.PIPE)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    return np.array([answer["values"] for answer in answers]), sum(a["cut"] for a in answers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coda", type=Path, required=True)
    parser.add_argument("--base", type=Path, default=CACHE / "minilm")
    parser.add_argument("--data", type=Path, default=CACHE / "20newsgroups-test.tsv")
    parser.add_argument("--texts", type=int, default=1000)
    options = parser.parse_args()
    texts = read_texts(options.data, options.texts)
    expected, cut = reference(options.base, texts)
    print(f"{len(texts)} texts of {options.data.name}, {cut} of them cut by the reference")
    holds = True
    with tempfile.TemporaryDirectory() as folder:
        for weights, bound in BOUNDS.items():
            found, own_cut = packed(options.coda, options.base, weights, texts, Path(folder))
            lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
            cosines = (found * expected).sum(1) / lengths
            # A NaN is below every bound.
            good = bool((cosines >= bound).all()) and own_cut == cut
            holds &= good
            print(f"{weights}: cosine at least {cosines.min():.6f} (bound {bound}), median "
                  f"{np.median(cosines):.6f}, {own_cut} cut: {'good' if good else 'WRONG'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
