"""vLLM as the engine that writes: a service in an environment of its own, steered text by text through our plugin.

vLLM pins another transformers, so that it is never imported here: it is started, asked over loopback, and stopped.
"""

from emotion_circuits.model.vllm.client import Asking, Client
from emotion_circuits.model.vllm.service import PYTHON, Identity, Service, identity_of, python_of
from emotion_circuits.model.vllm.writer import Writer

__all__ = ["PYTHON", "Asking", "Client", "Identity", "Service", "Writer", "identity_of", "python_of"]
