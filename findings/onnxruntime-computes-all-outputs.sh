#!/usr/bin/env bash
# ONNX Runtime: RunOptions.only_execute_path_to_fetches changes nothing: the nodes of outputs that are not fetched
# run all the same. In the branch of an If that is not taken they do not. Exits 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def value(name, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, None)


def ran(nodes, inputs, given):
    """The operators that run for the output `a` of two."""
    graph = helper.make_graph(nodes, "graph", inputs, [value("a"), value("b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    only = onnxruntime.RunOptions()
    only.only_execute_path_to_fetches = True
    session.run(["a"], {"x": np.ones(4, np.float32), **given}, only)
    events = json.loads(Path(session.end_profiling()).read_text())
    return sorted({event["args"]["op_name"] for event in events if event["name"].endswith("_kernel_time")})


cheap, costly = helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Sin", ["x"], ["b"])
plain = ran([cheap, costly], [value("x")], {})
inside, empty = helper.make_node("Sin", ["x"], ["c"]), helper.make_node("Identity", ["x"], ["d"])
branch = helper.make_node(
    "If",
    ["with_b"],
    ["b"],
    then_branch=helper.make_graph([inside], "yes", [], [value("c")]),
    else_branch=helper.make_graph([empty], "no", [], [value("d")]),
)
flag = value("with_b", TensorProto.BOOL)
branched = ran([cheap, branch], [value("x"), flag], {"with_b": np.array(False)})
print("onnxruntime", onnxruntime.__version__)
print("fetched: Abs of x; not fetched: Sin of x. Run:", *plain)
print("the same with Sin in the branch of an If:", *branched)
sys.exit(0 if "Sin" in plain and "Sin" not in branched else "the behaviour has changed")
PYTHON
