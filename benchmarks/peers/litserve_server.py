"""LitServe with its own batching around the service's decoding and engine.

Run with the model folder, a port, the workers, the largest batch, and the time to wait for one in ms.
"""

import sys
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.batch import Answer, BatchClassifier


class ClassifierAPI(litserve.LitAPI):
    """The stages that LitServe knows; decoding is in ``predict``, where a batch shares the threads."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe decides the signature
        """Load the model into a worker."""
        self.classifier = BatchClassifier(Path(sys.argv[1]), self.max_batch_size)

    def decode_request(self, request: Request) -> bytes:
        """Take the file from the form, which is what LitServe gives here for a request."""
        return bytes(request["file"].file.read())

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Keep the files of a batch apart until they are decoded."""
        return inputs

    def predict(self, x: list[bytes]) -> list[Answer]:
        """Answer a batch."""
        return self.classifier.predict(x)

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        """Give each request its answer."""
        return output

    def encode_response(self, output: Answer) -> Any:
        """Answer as JSON."""
        return output


if __name__ == "__main__":
    port, workers, batch_size, wait_ms = map(int, sys.argv[2:])
    api = ClassifierAPI(max_batch_size=batch_size, batch_timeout=wait_ms / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers, healthcheck_path="/readyz")
    server.run(host="127.0.0.1", port=port, generate_client_file=False)
