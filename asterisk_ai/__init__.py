"""AI voice agents on Asterisk PBXs."""

import os

__version__ = "0.1.0"

# Nothing leaves the host that the configuration does not name. Libraries look at these when they are loaded, so they
# are set before any of them is, in the server and in its worker processes: onnxruntime 1.29 and later would make a file
# that identifies the machine, and tell its maker which models are run; its own switch comes too late for the file.
# Source: the release notes of onnxruntime-server 1.29.0; huggingface_hub's documentation, "Environment variables".
os.environ.update(ORT_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
