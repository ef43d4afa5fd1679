"""The gRPC doors: the Open Inference Protocol v2, TensorFlow Serving's prediction service, health and reflection.

Predictions enter the same endpoints as over HTTP. Needs the extra `grpc`; nothing imports this folder before a port is
set.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core writes lines of its own form between those of the log
