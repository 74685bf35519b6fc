"""Prints the plan of a comparison: plan.py MODEL TEXTS WORK ROUNDS WORKER. Quantises for ONNX Runtime and cuts texts."""
import importlib.metadata, json, pathlib, re, sys
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer

model, texts_file, work, rounds, worker = sys.argv[1:]
work, python = pathlib.Path(work), sys.executable
tokenizer = Tokenizer.from_file(model + "/tokenizer.json")
tokenizer.no_truncation()
tokenizer.no_padding()
words = [line.split("\t", 1)[1] for line in open(texts_file) if "\t" in line]
INPUTS = 8
series = []


def add(name, command, tokens, threads, **more):
    series.append({"name": name, "command": [str(c) for c in command], "tokens": tokens, "threads": threads} | more)


for tokens in (128, 256):
    long = [ids for ids in (tokenizer.encode(text).ids for text in words) if len(ids) >= tokens]
    texts = [ids[:tokens - 1] + ids[-1:] for ids in long[:INPUTS]]
    assert len(texts) == INPUTS
    inputs = work / f"inputs-{tokens}.json"
    inputs.write_text(json.dumps(texts))
    onnx = work / f"minilm-{tokens}.onnx"
    default, careful = work / f"minilm-{tokens}-int8.onnx", work / f"minilm-{tokens}-int8-careful.onnx"
    quantize_dynamic(onnx, default, weight_type=QuantType.QInt8)
    quantize_dynamic(onnx, careful, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    for threads in (1, 2):
        environment = ["env", f"RAYON_NUM_THREADS={threads}", f"RTEN_NUM_THREADS={threads}"]
        ours = lambda runtime, package: environment + [worker, runtime, work / package, inputs, threads]
        add("coda int8", ours("coda", "minilm-int8.coda"), tokens, threads)
        add("coda f32", ours("coda", "minilm-f32.coda"), tokens, threads)
        for mode in ("k-to-k", "k-to-all", "k-to-light"):
            for reduction in (4, 8):
                add(f"coda int8 {mode} @{reduction}", ours(f"coda@{reduction}", f"{mode}.coda"), tokens, threads, dense=False)
        theirs = lambda runtime, file: [python, "worker.py", runtime, file, inputs, threads]
        add("onnxruntime f32", theirs("onnxruntime", onnx), tokens, threads)
        add("onnxruntime int8", theirs("onnxruntime", default), tokens, threads)
        add("onnxruntime int8, 7 bits by channel", theirs("onnxruntime", careful), tokens, threads)
        add("openvino f32", theirs("openvino", onnx), tokens, threads)
        # bf16 where the CPU has instructions for it.
        add("openvino default", theirs("openvino-default", onnx), tokens, threads)
        add("candle f32", environment + [worker, "candle", model, inputs, threads], tokens, threads)
        add("rten f32", environment + [worker, "rten", onnx, inputs, threads], tokens, threads)
        if threads == 1:
            add("tract f32", environment + [worker, "tract", onnx, inputs, threads], tokens, threads)
lock = pathlib.Path("Cargo.lock").read_text()
version = lambda name: re.search(rf'name = "{name}"\nversion = "([^"]+)"', lock).group(1)
versions = {name: importlib.metadata.version(name) for name in ("onnxruntime", "openvino")}
versions |= {"tract": version("tract-onnx"), "candle": version("candle-transformers"), "rten": version("rten")}
print(json.dumps({"title": "all-MiniLM-L6-v2, batch 1", "rounds": int(rounds), "inputs": INPUTS, "reference": "coda int8",
                  "exact": "onnxruntime f32", "versions": versions, "series": series}))
