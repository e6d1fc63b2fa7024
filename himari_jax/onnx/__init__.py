"""ONNX: graphs of policies and the sessions that run them."""
