"""Runs an encoder of benches/peers in ONNX Runtime, one thread: onnxruntime_runs.py MODEL.onnx TOKENS RUNS"""
import sys
import numpy as np, onnxruntime

model, tokens, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
ids = np.arange(tokens, dtype=np.int64)[None] * 7919 % 30000
for _ in range(runs):
    session.run(None, {"ids": ids})
