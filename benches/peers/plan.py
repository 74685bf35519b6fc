"""Prints the plan of a comparison: plan.py minilm|vit-s MODEL DATA WORK ROUNDS BINARIES. Quantises for ONNX Runtime and
makes the inputs: of DATA's texts, or of its images (a gzipped IDX file).
"""
import gzip, hashlib, importlib.metadata, importlib.util, json, pathlib, re, sys
import numpy as np
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer

name, model, data, work, rounds, binaries = sys.argv[1:]
work, binaries, python = pathlib.Path(work), pathlib.Path(binaries), sys.executable
vision = name == "vit-s"
INPUTS, SIDE = 8, 224
# Modules and packages of the peers that are used from Python.
MODULES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert", "ncnn": "ncnn", "llama.cpp": "llama_cpp"}
PACKAGES = {"litert": "ai-edge-litert", "llama.cpp": "llama-cpp-python"}
series = []


def disk(runtime):
    """Bytes to ship for one inference: libraries of a Python package, or a stripped binary."""
    if runtime in MODULES:
        folder = pathlib.Path(importlib.util.find_spec(MODULES[runtime]).origin).parent
        # Bundled libraries of others stand beside the package; a wheel may hold one library under several names.
        folders = (folder, folder.with_name(folder.name + ".libs"))
        files = [file for one in folders for file in one.rglob("*.so*") if not file.is_symlink()]
        return sum({hashlib.sha256(file.read_bytes()).digest(): file.stat().st_size for file in files}.values())
    return (binaries / f"peer-{runtime}").stat().st_size


def add(name, command, tokens, threads, **more):
    size = disk(name.split()[0])
    series.append({"name": name, "command": [str(c) for c in command], "tokens": tokens, "threads": threads, "disk": size} | more)


def texts():
    tokenizer = Tokenizer.from_file(model + "/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    words = [tokenizer.encode(line.split("\t", 1)[1]).ids for line in open(data) if "\t" in line]
    for tokens in (128, 256):
        long = [ids for ids in words if len(ids) >= tokens]
        cut = [ids[:tokens - 1] + ids[-1:] for ids in long[:INPUTS]]
        assert len(cut) == INPUTS
        inputs = work / f"inputs-{tokens}.json"
        inputs.write_text(json.dumps(cut))
        yield tokens, work / f"minilm-{tokens}.onnx", inputs, inputs


def images():
    settings = json.loads(pathlib.Path(model, "preprocessor_config.json").read_text())
    with gzip.open(data) as file:
        _, _, rows, columns = np.frombuffer(file.read(16), ">u4")
        pixels = np.frombuffer(file.read(INPUTS * int(rows * columns)), np.uint8).reshape(INPUTS, rows, columns)
    larger = pixels.repeat(SIDE // rows, axis=1).repeat(SIDE // columns, axis=2)
    colours = np.stack([larger] * 3, axis=-1)
    assert colours.shape == (INPUTS, SIDE, SIDE, 3)
    ours, theirs = work / "inputs-vit-s.u8", work / "inputs-vit-s.f32"
    colours.tofile(ours)
    normalised = (colours / 255 - settings["image_mean"]) / settings["image_std"]
    normalised.transpose(0, 3, 1, 2).astype(np.float32).tofile(theirs)
    yield (SIDE // 14) ** 2 + 1, work / "vit-s.onnx", ours, theirs


for tokens, onnx, inputs, peers_inputs in images() if vision else texts():
    default, careful = onnx.with_name(onnx.stem + "-int8.onnx"), onnx.with_name(onnx.stem + "-int8-careful.onnx")
    # The patches' convolution stays f32: ONNX Runtime has none with signed weights.
    kinds = {"op_types_to_quantize": ["MatMul"]} if vision else {}
    quantize_dynamic(onnx, default, weight_type=QuantType.QInt8, **kinds)
    quantize_dynamic(onnx, careful, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True, **kinds)
    for threads in (1, 2):
        environment = ["env", f"RAYON_NUM_THREADS={threads}", f"RTEN_NUM_THREADS={threads}"]
        rust = lambda runtime, file, inputs, *more: environment + [binaries / f"peer-{runtime}", file, inputs, threads, *more]
        ours = lambda package, *more: rust("coda", work / f"{name}-{package}.coda", inputs, *more)
        add("coda int8", ours("int8"), tokens, threads)
        add("coda f32", ours("f32"), tokens, threads)
        for mode in ("k-to-k", "k-to-all", "k-to-low-rank"):
            for reduction in (4, 8):
                add(f"coda int8 {mode} @{reduction}", ours(mode, reduction), tokens, threads, dense=False)
        theirs = lambda title, file, precision="": add(
            title, [python, "worker.py", MODULES[title.split()[0]] + precision, file, peers_inputs, threads], tokens, threads)
        theirs("onnxruntime f32", onnx)
        theirs("onnxruntime int8", default)
        theirs("onnxruntime int8, 7 bits by channel", careful)
        theirs("openvino f32", onnx)
        # bf16 where the CPU has instructions for it.
        theirs("openvino default", onnx, "-default")
        for kind in ("f32", "int8"):
            theirs(f"litert {kind}", onnx.with_name(f"{onnx.stem}-{kind}.tflite"))
        for kind in ("f32", "bf16"):
            theirs(f"ncnn {kind}", onnx.with_suffix(".ncnn.param"), "-bf16" if kind == "bf16" else "")
        # llama.cpp has no DINOv2.
        if not vision:
            for kind in ("f32", "q8_0"):
                theirs(f"llama.cpp {kind}", work / f"{name}-{kind}.gguf")
        # candle's DINOv2 is another model: src/bin/peer-candle.rs.
        if not vision:
            add("candle f32", rust("candle", model, inputs), tokens, threads)
        add("rten f32", rust("rten", onnx, peers_inputs), tokens, threads)
        if threads == 1:
            add("tract f32", rust("tract", onnx, peers_inputs), tokens, threads)
lock = pathlib.Path("Cargo.lock").read_text()
version = lambda name: re.search(rf'name = "{name}"\nversion = "([^"]+)"', lock).group(1)
packages = [PACKAGES.get(name, name) for name in MODULES]
versions = {package: importlib.metadata.version(package) for package in packages}
versions |= {"tract": version("tract-onnx"), "candle": version("candle-transformers"), "rten": version("rten")}
title = f"ViT-S/14 in DINOv2's layout, {SIDE} px, batch 1" if vision else "all-MiniLM-L6-v2, batch 1"
kind = "Fashion-MNIST images, each pixel 8 times in each direction" if vision else "real texts"
print(json.dumps({"title": title, "rounds": int(rounds), "inputs": INPUTS, "kind": kind, "reference": "coda int8",
                  "exact": "onnxruntime f32", "versions": versions, "series": series}))
