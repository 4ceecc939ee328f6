"""What runs graphs: ONNX Runtime, OpenVINO, TensorRT. selection.py has the rules for which, and the protocol that all follow.

cuda.py speaks to the driver. It imports `bundle` and below.
"""
