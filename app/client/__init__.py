"""Python client of the service; it needs httpx and nothing else of ``app``.

    with CxrClient("http://127.0.0.1:8000") as client:
        prediction = client.predict("chest-xray.dcm")

Decision support for research, never a diagnosis.
"""

from app.client._client import AsyncCxrClient, CxrClient
from app.client._exceptions import (
    ApiError,
    Busy,
    ConnectionFailed,
    CxrError,
    Refused,
    ServerFailed,
    Unauthorized,
    UnexpectedAnswer,
)
from app.client._results import ImageWarning, InputFacts, Model, ModelIdentity, Prediction, Region
from app.client._upload import Image

__all__ = [
    "ApiError",
    "AsyncCxrClient",
    "Busy",
    "ConnectionFailed",
    "CxrClient",
    "CxrError",
    "Image",
    "ImageWarning",
    "InputFacts",
    "Model",
    "ModelIdentity",
    "Prediction",
    "Refused",
    "Region",
    "ServerFailed",
    "Unauthorized",
    "UnexpectedAnswer",
]
