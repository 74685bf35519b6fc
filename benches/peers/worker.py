"""One encoder in ONNX Runtime or OpenVINO, with the inputs and the pipe protocol of src/lib.rs: worker.py RUNTIME MODEL INPUTS THREADS"""
import json, os, sys, time
import numpy as np

runtime, model, inputs, threads = sys.argv[1:]
if inputs.endswith(".f32"):
    name, inputs = "pixels", list(np.fromfile(inputs, np.float32).reshape(-1, 1, 3, 224, 224))
else:
    name, inputs = "ids", [np.array([ids], np.int64) for ids in json.load(open(inputs))]
start = time.perf_counter()
if runtime == "onnxruntime":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    run = lambda input: session.run(None, {name: input})[0]
elif runtime.startswith("openvino"):
    import openvino
    properties = {"INFERENCE_NUM_THREADS": int(threads), "PERFORMANCE_HINT": "LATENCY"}
    precision = {"INFERENCE_PRECISION_HINT": "f32"} if runtime == "openvino" else {}
    compiled = openvino.Core().compile_model(model, "CPU", properties | precision)
    request = compiled.create_infer_request()
    run = lambda input: request.infer({name: input})[0]
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
folder = os.path.dirname(os.path.realpath(sys.modules[runtime.split("-")[0]].__file__))
paths = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if ".so" in line}
mapped = sum(os.path.getsize(path) for path in paths if path.startswith(folder + "/"))
print(json.dumps({"pooled": [pooled[index] for index in sorted(pooled)], "peak_kib": peak, "mapped": mapped}), flush=True)
