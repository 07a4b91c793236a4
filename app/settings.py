"""All settings of the service: environment variables with the prefix ``CXR_``, read once at start."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.artifact import Precision
from app.engines import EngineName
from app.imaging import RADIOGRAPH_MODALITIES

SHIPPED_MODEL: Final = Path(__file__).parents[1] / "models" / "efficientnetlite0"


class Settings(BaseSettings):
    """What an operator can decide. Unknown variables are ignored, wrong values refused at start."""

    model_config = SettingsConfigDict(env_prefix="CXR_", frozen=True, env_ignore_empty=True)

    model: Path = Field(
        SHIPPED_MODEL,
        description="Model folder: `models/<name>/<version>`, or `models/<name>` for its highest version.",
    )
    model_public_key: Path | None = Field(
        None, description="Ed25519 public key, PEM, whose signature the model must have; unset: none is asked for."
    )
    engine: EngineName = Field(
        "openvino", description="What runs the model: `openvino`, or `tensorflow` where it is installed."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    api_keys_file: Path | None = Field(
        None,
        description="File of the API keys that are asked for; unset: none, and `CXR_HOST` must be a loopback address.",
    )
    allow_anonymous: bool = Field(
        False, description="Serve without API keys even on an address that other machines can reach."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names with a dot that the service goes by, where it asks for no keys; separated by commas.",
    )
    max_uploads_per_minute: int = Field(
        0, ge=0, description="Uploads a minute that each API key may send; 0: any number."
    )
    metrics: Literal["key", "open", "closed"] = Field(
        "key", description="Who may read `/metrics`: `key`: who has a key, where keys are asked for; `open`, `closed`."
    )
    docs: Literal["open", "closed"] = Field("open", description="Whether there are `/docs` and `/openapi.json`.")
    max_upload_bytes: int = Field(64 * 2**20, ge=1, description="Largest request body in bytes.")
    max_pixels: int = Field(40_000_000, ge=1, description="Most pixels an image may declare.")
    modalities: Annotated[tuple[str, ...], NoDecode] = Field(
        RADIOGRAPH_MODALITIES, min_length=1, description="DICOM modalities to accept, separated by commas."
    )
    input_gate: Literal["refuse", "warn", "off"] = Field(
        "refuse",
        description="What happens to images that are no upright frontal chest radiographs: `refuse` with 422, `warn` "
        "in the answer, or `off`: they are not looked for.",
    )
    decode_timeout_ms: int = Field(
        20_000,
        ge=1,
        description="Processor time that one image may take to decode; refused with 422 when it takes more.",
    )
    upload_memory_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Most bytes of uploads in memory, and one upload more; half of it is shared out evenly among "
        "`CXR_MAX_QUEUE` requests, the rest goes to larger uploads in turn, and others are read on when it is free.",
    )
    max_header_bytes: int = Field(
        2**16, ge=1024, description="Most bytes of a request beside its body: address, header, framing of chunks."
    )
    header_timeout_ms: int = Field(
        10_000, ge=1, description="A connection that has not sent a whole header by then is closed, with a 408."
    )
    body_timeout_ms: int = Field(
        10_000,
        ge=1,
        description="In each such time `CXR_BODY_TIMEOUT_BYTES` of a body must come, or of an answer be read.",
    )
    body_timeout_bytes: int = Field(
        16 * 2**10, ge=1, description="See `CXR_BODY_TIMEOUT_MS`: together they are the slowest rate, 1.6 kB/s."
    )
    max_connections: int = Field(
        1024, ge=8, description="Connections held at a time; for another one the longest idle one is closed."
    )
    max_queue: int = Field(
        128, ge=1, description="Requests in the service at a time, from upload to answer; more are refused."
    )
    max_wait_ms: int = Field(
        10_000,
        ge=0,
        description="Requests that would be answered later than this, by the rate of the last ones, are refused.",
    )
    overload_status: Literal[503, 429] = Field(
        503, description="Status of these refusals, `503` or `429`; either comes with `Retry-After`."
    )
    request_timeout_ms: int = Field(
        60_000, ge=1, description="A request is answered 504 when it is older, and never computed later."
    )
    drain_ms: int = Field(
        0,
        ge=0,
        description="After SIGTERM requests are served for so long while `/readyz` says 503; the image sets `2000`.",
    )
    shutdown_timeout_ms: int = Field(
        5_000,
        ge=1,
        description="Then requests in progress are finished for so long; those that are not are answered 503.",
    )
    max_batch_size: int = Field(
        8, ge=1, le=64, description="Images the network computes in one call where as many wait; 1: no batches."
    )
    max_batch_delay_ms: float = Field(
        20,
        ge=0,
        description="How long an image waits for others that are being decoded, if these would fill a batch.",
    )
    precision: Precision | Literal["auto"] = Field(
        "auto",
        description="Arithmetic `f32`, `bf16`, `int8`; `auto`: `bf16` with AMX and a model that allows it, else `f32`.",
    )
    cache_dir: Path | None = Field(
        None, description="Folder for compiled models, which makes the next start faster. Unset: none is kept."
    )
    threads: int = Field(
        0, ge=0, description="Threads for inference, and as many for decoding; 0: the cores this process may use."
    )
    streams: int = Field(0, ge=0, description="Batches computed beside each other; 0: one for every four threads.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log lines to write."
    )

    @field_validator("overload_status", mode="before")
    @classmethod
    def _read_number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("modalities", "allowed_hosts", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
