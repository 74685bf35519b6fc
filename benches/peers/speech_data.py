"""Makes what speech.sh compares: speech_data.py CACHE CLIPS

From CACHE/ctranslate2 (Whisper as CTranslate2 has it) a Hugging Face directory CACHE/tiny.en; from CACHE/sounds the clips
of the test, their features and texts; and two tasks without training: `silence` appends encoder states of silence for the
decoder, `grid-2` also prunes every other token behind layer 0.
"""
import gzip, hashlib, json, pathlib, re, shutil, struct, sys
import av, ctranslate2, numpy as np
from safetensors.numpy import save_file

cache, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
RATE, HOP, BINS, WINDOW, MARGIN, SILENCE = 16000, 160, 80, 1500, 50, 200


def variables(path):
    """The tensors of a CTranslate2 model of version 6: names, ranks, dimensions, types and values, one after the other."""
    data, at = path.read_bytes(), 0

    def take(kind):
        nonlocal at
        value, = struct.unpack_from("<" + kind, data, at)
        at += struct.calcsize("<" + kind)
        return value

    def text():
        nonlocal at
        length = take("H")
        at += length
        return data[at - length:at - 1].decode()

    version, specification, _, tensors = take("I"), text(), take("I"), take("I")
    assert (version, specification) == (6, "WhisperSpec")
    found = {}
    for _ in range(tensors):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        kind = [np.float32, np.int8, np.int16, np.int32, np.float16][take("B")]
        size = take("I")
        found[name] = np.frombuffer(data, kind, size // np.dtype(kind).itemsize, at).reshape(shape)
        at += size
    return found


def directory(of, to):
    """Under the names of Hugging Face; fused queries, keys and values are split, and no key has a bias."""
    own, out = variables(of / "model.bin"), {}
    pair = lambda to, of, parts=("weight", "bias"): out.update({f"{to}.weight": own[f"{of}/{parts[0]}"], f"{to}.bias": own[f"{of}/{parts[1]}"]})
    norm = lambda to, of: pair(to, of, ("gamma", "beta"))

    def attention(to, of, maps, last):
        for source, names in maps:
            weights, biases = own[f"{of}/{source}/weight"], own[f"{of}/{source}/bias"]
            for name, weight, bias in zip(names, np.split(weights, len(names)), np.split(biases, len(names))):
                out[f"{to}.{name}_proj.weight"] = weight
                if name == "k":
                    assert not bias.any()
                else:
                    out[f"{to}.{name}_proj.bias"] = bias
        pair(f"{to}.out_proj", f"{of}/{last}")

    for side in ("encoder", "decoder"):
        out[f"model.{side}.embed_positions.weight"] = own[f"{side}/position_encodings/encodings"]
        norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        for index in range(sum(bool(re.fullmatch(rf"{side}/layer_\d+/ffn/linear_0/weight", name)) for name in own)):
            layer, source = f"model.{side}.layers.{index}", f"{side}/layer_{index}"
            norm(f"{layer}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
            attention(f"{layer}.self_attn", f"{source}/self_attention", [("linear_0", "qkv")], "linear_1")
            if side == "decoder":
                norm(f"{layer}.encoder_attn_layer_norm", f"{source}/attention/layer_norm")
                attention(f"{layer}.encoder_attn", f"{source}/attention", [("linear_0", "q"), ("linear_1", "kv")], "linear_2")
            norm(f"{layer}.final_layer_norm", f"{source}/ffn/layer_norm")
            pair(f"{layer}.fc1", f"{source}/ffn/linear_0")
            pair(f"{layer}.fc2", f"{source}/ffn/linear_1")
    for name in ("conv1", "conv2"):
        pair(f"model.encoder.{name}", f"encoder/{name}")
    out["model.decoder.embed_tokens.weight"] = own["decoder/embeddings/weight"]
    to.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(value) for name, value in out.items()}, to / "model.safetensors")
    settings = json.loads((of / "config.json").read_text())
    width, vocabulary = out["model.encoder.layer_norm.weight"].size, len(out["model.decoder.embed_tokens.weight"])
    layers = lambda side: sum(name.startswith(f"model.{side}.layers.") and name.endswith("fc1.bias") for name in out)
    write = lambda name, value: (to / name).write_text(json.dumps(value, indent=1))
    write("config.json", {
        "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"], "d_model": width,
        "encoder_layers": layers("encoder"), "decoder_layers": layers("decoder"), "encoder_attention_heads": width // 64,
        "decoder_attention_heads": width // 64, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width,
        "activation_function": "gelu", "num_mel_bins": BINS, "max_source_positions": WINDOW, "max_target_positions": 448,
        "vocab_size": vocabulary, "scale_embedding": False, "is_encoder_decoder": True, "decoder_start_token_id": START[0],
        "eos_token_id": END, "pad_token_id": END})
    write("generation_config.json", {
        "suppress_tokens": settings["suppress_ids"], "begin_suppress_tokens": settings["suppress_ids_begin"],
        "decoder_start_token_id": START[0], "forced_decoder_ids": [[1, START[1]]], "no_timestamps_token_id": START[1],
        "eos_token_id": END, "pad_token_id": END, "is_multilingual": False, "max_length": 448, "return_timestamps": False})
    write("preprocessor_config.json", {
        "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": BINS, "chunk_length": 30, "hop_length": HOP,
        "n_fft": 400, "sampling_rate": RATE, "n_samples": 30 * RATE, "nb_max_frames": 2 * WINDOW, "padding_side": "right",
        "padding_value": 0.0})
    write("tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer", "unk_token": "<|endoftext|>", "bos_token": "<|endoftext|>",
                                    "eos_token": "<|endoftext|>", "add_prefix_space": False, "errors": "replace"})
    shutil.copyfile(of / "tokenizer.json", to / "tokenizer.json")


# Of the English models: start of transcript, no timestamps; end of text.
START, END = [50257, 50362], 50256


def filters():
    hertz = lambda mel: np.where(mel < 15, 200 * mel / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
    points = hertz(np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), BINS + 2))
    bins = np.arange(201) * RATE / 400
    rise = (bins - points[:-2, None]) / np.diff(points)[:-1, None]
    fall = (points[2:, None] - bins) / np.diff(points)[1:, None]
    return np.maximum(0, np.minimum(rise, fall)) * 2 / (points[2:] - points[:-2])[:, None]


FILTERS, HANN = filters(), 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)


def features(sound, positions):
    """[2 positions, bins], as docs/method.md has it, in float64."""
    cut = np.zeros(2 * HOP * positions)
    cut[:min(len(sound), len(cut))] = sound[:len(cut)]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(cut, 200, mode="reflect"), 400)[::HOP][:2 * positions]
    power = np.log10(np.maximum((np.abs(np.fft.rfft(frames * HANN)) ** 2) @ FILTERS.T, 1e-10))
    return ((np.maximum(power, power.max() - 8) + 4) / 4).astype(np.float32)


def sound_of(path):
    with av.open(str(path), format="g722") as file:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frames = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)] + resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]) / 32768


directory(cache / "ctranslate2", cache / "tiny.en")
sounds, texts = cache / "sounds/usr/share/asterisk/sounds/en_US_f_Allison", {}
for line in gzip.open(cache / "sounds/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz", "rt"):
    name, colon, text = line.strip().partition(":")
    if colon and not line.startswith(";") and not re.search(r"[\d\[\](){}<>]", text) and len(text.split()) >= 3:
        texts[name] = text.strip()
# An order that no text decides; prompts below 7 seconds, each text once, the first for the silence.
order = sorted(texts, key=lambda name: hashlib.sha256(name.encode()).digest())
clips, seen = [], set()
for name in order:
    path = sounds / f"{name}.g722"
    if len(clips) > count or not path.exists() or texts[name].lower() in seen:
        continue
    sound = sound_of(path)
    if len(sound) < 7 * RATE:
        seen.add(texts[name].lower())
        clips.append((name, sound))
(_, quiet), clips = clips[0], clips[1:]
lists = {"padded": [], "exact": []}
(cache / "features").mkdir(exist_ok=True)
for index, (name, sound) in enumerate(clips):
    positions = min(WINDOW, -(-len(sound) // (2 * HOP)) + MARGIN)
    for kind, size in (("padded", WINDOW), ("exact", positions)):
        file = cache / f"features/{index}-{kind}.f32"
        features(sound, size).tofile(file)
        lists[kind].append(f"{8 * len(sound) // RATE + 12} {file}\n")
for kind, lines in lists.items():
    (cache / f"clips-{kind}.txt").write_text("".join(lines))
(cache / "names.json").write_text(json.dumps([name for name, _ in clips]))
(cache / "texts.json").write_text(json.dumps([texts[name] for name, _ in clips], indent=1))
# States of silence: what the encoder makes of a padded window behind a prompt that is not in the test.
model = ctranslate2.models.Whisper(str(cache / "ctranslate2"), device="cpu", compute_type="float32", intra_threads=1)
window = ctranslate2.StorageView.from_array(np.ascontiguousarray(features(quiet, WINDOW).T[None]))
first = -(-len(quiet) // (2 * HOP)) + MARGIN
states = np.array(model.encode(window))[0, first:first + SILENCE].astype(np.float32)
dense = {"labels": [], "attention": "dense"}
layers = [{"attention": mode} for mode in ("dense", "prune", "dense", "dense")]
grid = {"labels": [], "attention": "prune", "router_input": "grid", "gate": "ones", "reduction": 2.0, "layers": layers}
for name, settings in (("silence", dense), ("grid-2", grid)):
    save_file({"coda.decoder.appended_states": states}, cache / f"{name}.safetensors", {"coda": json.dumps(settings)})
seconds = sum(len(sound) for _, sound in clips) / RATE
print(f"{len(clips)} prompts, {seconds / 60:.1f} minutes, {sum(len(texts[name].split()) for name, _ in clips)} words")
