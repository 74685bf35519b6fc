"""One encoder in a peer's Python package, with the inputs and the pipe protocol of src/lib.rs: worker.py RUNTIME MODEL INPUTS THREADS

RUNTIME is the module's name, with `-default` or `-bf16` behind it where a precision other than f32 may be chosen.
"""
import json, os, sys, time
import numpy as np

runtime, model, inputs, threads = sys.argv[1:]
if inputs.endswith(".f32"):
    name, inputs = "pixels", list(np.fromfile(inputs, np.float32).reshape(-1, 1, 3, 224, 224))
else:
    name, inputs = "ids", [np.array([ids], np.int64) for ids in json.load(open(inputs))]
module, _, precision = runtime.partition("-")
start = time.perf_counter()
if module == "onnxruntime":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    run = lambda input: session.run(None, {name: input})[0]
elif module == "openvino":
    import openvino
    properties = {"INFERENCE_NUM_THREADS": int(threads), "PERFORMANCE_HINT": "LATENCY"}
    hint = {} if precision else {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", properties | hint)
    request = compiled.create_infer_request()
    run = lambda input: request.infer({name: input})[0]
elif module == "ai_edge_litert":
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model_path=model, num_threads=int(threads))
    interpreter.allocate_tensors()
    source, target = (details[0] for details in (interpreter.get_input_details(), interpreter.get_output_details()))

    def run(input):
        interpreter.set_tensor(source["index"], input.astype(source["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])[None]
elif module == "ncnn":
    import ncnn
    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_bf16_storage = int(threads), precision == "bf16"
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(model) == 0 and net.load_model(model.removesuffix("param") + "bin") == 0

    def run(input):
        # A Mat only looks at the array.
        values = input[0].astype(np.int32) if name == "ids" else input[0]
        extractor = net.create_extractor()
        assert extractor.input("in0", ncnn.Mat(values)) == 0
        status, hidden = extractor.extract("out0")
        assert status == 0
        return np.array(hidden)[None]
elif module == "llama_cpp":
    import llama_cpp
    tokens = len(inputs[0][0])
    llama = llama_cpp.Llama(model, embedding=True, n_ctx=tokens, n_batch=tokens, n_ubatch=tokens, n_threads=int(threads),
                            n_threads_batch=int(threads), pooling_type=llama_cpp.LLAMA_POOLING_TYPE_NONE, verbose=False)
    batch = llama_cpp.llama_batch_init(tokens, 0, 1)
    batch.n_tokens = tokens
    for index in range(tokens):
        batch.pos[index], batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = index, 1, 0, 1

    def run(input):
        for place, id in enumerate(input[0].tolist()):
            batch.token[place] = id
        assert llama_cpp.llama_encode(llama.ctx, batch) == 0
        rows = llama_cpp.llama_get_embeddings(llama.ctx)
        return np.ctypeslib.as_array(rows, (1, tokens, llama.n_embd())).copy()
else:
    sys.exit(f"no runtime {runtime}")
load = (time.perf_counter() - start) * 1000
start = time.perf_counter()
run(inputs[0])
print(json.dumps({"load_ms": load, "first_ms": (time.perf_counter() - start) * 1000}), flush=True)
pooled = {}
for line in sys.stdin:
    index = int(line)
    start = time.perf_counter()
    hidden = run(inputs[index])
    print((time.perf_counter() - start) * 1000, flush=True)
    pooled.setdefault(index, hidden[0].mean(axis=0).tolist())
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0])
# The package's libraries that this inference has mapped.
folder = os.path.dirname(os.path.realpath(sys.modules[module].__file__))
paths = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if ".so" in line}
mapped = sum(os.path.getsize(path) for path in paths if path.startswith((folder + "/", folder + ".libs/")))
print(json.dumps({"pooled": [pooled[index] for index in sorted(pooled)], "peak_kib": peak, "mapped": mapped}), flush=True)
