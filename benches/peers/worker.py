"""One encoder in ONNX Runtime or OpenVINO, with the pipe protocol of src/main.rs: worker.py RUNTIME MODEL INPUTS THREADS"""
import json, sys, time
import numpy as np

runtime, model, inputs, threads = sys.argv[1:]
inputs = [np.array([ids], np.int64) for ids in json.load(open(inputs))]
start = time.perf_counter()
if runtime == "onnxruntime":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    run = lambda ids: session.run(None, {"ids": ids})[0]
elif runtime.startswith("openvino"):
    import openvino
    properties = {"INFERENCE_NUM_THREADS": int(threads), "PERFORMANCE_HINT": "LATENCY"}
    precision = {"INFERENCE_PRECISION_HINT": "f32"} if runtime == "openvino" else {}
    compiled = openvino.Core().compile_model(model, "CPU", properties | precision)
    request = compiled.create_infer_request()
    run = lambda ids: request.infer({"ids": ids})[0]
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
print(json.dumps({"pooled": [pooled[index] for index in sorted(pooled)], "peak_kib": peak}), flush=True)
