"""The one place that imports onnxruntime: without its telemetry, and with the settings that every session has.

From 1.29 on, onnxruntime on Linux writes a device id into the user's cache and sends events. Its own call that
switches them off comes too late: the id is written while the library is loaded.
"""

import os
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
os.environ.pop("ORT_LOAD_CONFIG_FROM_MODEL", None)  # no graph chooses its own settings

import onnxruntime


def open_session(graph: bytes) -> Any:
    """An onnxruntime session on one thread of the processor: requests run side by side, not parts of one.

    Args:
        graph: an ONNX model; out of bytes, so that it names no file beside it.

    Raises:
        Exception: of onnxruntime's own kinds; it is no graph that can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
