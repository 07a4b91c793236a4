"""Every error that the product reports to people, in one tree.

    CxrError
    ├── UploadError                    what a caller sent; the message is theirs to read
    │   ├── RequestError               the request itself is malformed
    │   │   ├── EmptyBody
    │   │   ├── MissingFile
    │   │   ├── TooManyFiles
    │   │   └── MalformedMultipart
    │   ├── TooLarge                   refused before it is decoded
    │   │   ├── BodyTooLarge
    │   │   └── TooManyPixels
    │   ├── UnsupportedType            not a format we read
    │   │   ├── UnsupportedFormat
    │   │   └── UnsupportedTransferSyntax
    │   └── UnusableImage              a format we read, but not an image we can use
    │       ├── CorruptImage
    │       ├── DecoderFailed
    │       ├── MultipleFrames
    │       ├── NoPixelData
    │       ├── UnsupportedPixels
    │       ├── UnsupportedModality
    │       ├── UnsupportedView
    │       └── UnlikeTraining         the input gate: an image of another kind than the model was trained on
    │           ├── BlankImage
    │           ├── InvertedImage
    │           ├── RotatedImage
    │           ├── NotAChestRadiograph
    │           └── ColourImage
    ├── HeaderTooLarge                 more bytes before a body, or around it, than the limit
    ├── AccessRefused                  about who asks, whatever was sent; nothing of it was read
    │   ├── Unauthorized               no API key, or none of the service's
    │   ├── CrossSite                  a browser that asks for a page of another site
    │   └── UnknownHost                a name that the service does not go by
    ├── Unavailable                    the service cannot answer now; try again
    │   ├── NotReady
    │   ├── Overloaded
    │   ├── Stopping
    │   ├── TooManyConnections
    │   ├── DecoderUnavailable
    │   └── RateLimited                this key has sent as many uploads as it may
    ├── TooSlow                        a request that comes too slowly, or is older than its deadline
    │   ├── HeaderTooSlow
    │   ├── BodyTooSlow
    │   └── DeadlinePassed
    ├── SettingError                   a setting is right by itself and cannot be served with
    ├── ArtifactError                  an exported model folder is missing, damaged or incompatible
    ├── EngineError                    the engine that runs the model
    │   ├── EngineUnavailable          not installed, or no such engine
    │   └── InferenceFailed            an engine call raised
    └── TrainingError                  a training command cannot go on (data, weights, run folder)
        └── Diverged                   the loss of a training run is no longer a number

Each class has a stable ``code``. Which HTTP status belongs to it is known to ``app.api.problems`` alone.
Messages say what was received and what is accepted; they never hold a file name, a path that a
caller chose, or a value from a DICOM header that could name a person.
"""

from typing import ClassVar


class CxrError(Exception):
    """Report a condition that a person can act on.

    Attributes:
        code: Stable snake_case identifier; part of the public interface.
    """

    code: ClassVar[str] = "error"


class UploadError(CxrError):
    """An upload that cannot be answered because of what it is."""

    code = "upload_error"


class RequestError(UploadError):
    """A request that is not of the form that the endpoint takes."""

    code = "malformed_request"


class EmptyBody(RequestError):
    """A request, or its file field, without a single byte of image."""

    code = "empty_body"


class MissingFile(RequestError):
    """A multipart form without the field ``file``."""

    code = "missing_file"


class TooManyFiles(RequestError):
    """A multipart form with more than one file."""

    code = "too_many_files"


class MalformedMultipart(RequestError):
    """A body that is declared multipart and cannot be parsed as such."""

    code = "malformed_multipart"


class TooLarge(UploadError):
    """An upload over a limit."""

    code = "too_large"


class BodyTooLarge(TooLarge):
    """More bytes than the limit, as sent or after DICOM's deflate is undone."""

    code = "body_too_large"


class TooManyPixels(TooLarge):
    """A declared width times height over the limit; nothing was decoded."""

    code = "too_many_pixels"


class UnsupportedType(UploadError):
    """Content of a type that the service does not read."""

    code = "unsupported_type"


class UnsupportedFormat(UnsupportedType):
    """Content that is not PNG, JPEG, WebP, TIFF, BMP or DICOM."""

    code = "unsupported_format"


class UnsupportedTransferSyntax(UnsupportedType):
    """A DICOM file whose pixel data are stored in a way that no decoder here reads."""

    code = "unsupported_transfer_syntax"


class UnusableImage(UploadError):
    """A readable format that holds no image the model can use."""

    code = "unusable_image"


class CorruptImage(UnusableImage):
    """A damaged or truncated image."""

    code = "corrupt_image"


class DecoderFailed(UnusableImage):
    """An image on which its decoder crashed, or took more time or memory than images within the limits need."""

    code = "decoder_failed"


class MultipleFrames(UnusableImage):
    """An animation, a multi-page TIFF or a multi-frame DICOM."""

    code = "multiple_frames"


class NoPixelData(UnusableImage):
    """A DICOM object without an image in it."""

    code = "no_pixel_data"


class UnsupportedPixels(UnusableImage):
    """A kind of sample (depth, colour space) that cannot be read without losing grey levels."""

    code = "unsupported_pixels"


class UnsupportedModality(UnusableImage):
    """A DICOM object that says it is not a projection radiograph."""

    code = "unsupported_modality"


class UnsupportedView(UnusableImage):
    """A DICOM object that says it is a lateral view."""

    code = "unsupported_view"


class UnlikeTraining(UnusableImage):
    """An image of another kind than the model was trained on, so that its answer would mean nothing.

    Attributes:
        distance: Of the image from the training radiographs; None where it was not what decided.
        limit: Of such distances.
    """

    code = "unlike_training"

    def __init__(self, message: str, *, distance: float | None = None, limit: float | None = None) -> None:
        """Set the message, and what was measured where it decided."""
        super().__init__(message)
        self.distance, self.limit = distance, limit


class BlankImage(UnlikeTraining):
    """An image of nearly one grey level."""

    code = "blank_image"


class InvertedImage(UnlikeTraining):
    """A frontal chest radiograph whose grey levels are inverted: bones are black."""

    code = "inverted_image"


class RotatedImage(UnlikeTraining):
    """A frontal chest radiograph that is turned by 90, 180 or 270 degrees."""

    code = "rotated_image"


class NotAChestRadiograph(UnlikeTraining):
    """An image that is farther from the training radiographs than other radiographs are."""

    code = "not_a_chest_radiograph"


class ColourImage(UnlikeTraining):
    """An image with colour on more than marks, such as a photograph or a heatmap over a radiograph."""

    code = "colour_image"


class AccessRefused(CxrError):
    """A request that is refused for whom it comes from, before anything of its body is read."""

    code = "access_refused"


class Unauthorized(AccessRefused):
    """A request without an API key, or with one that is not the service's."""

    code = "unauthorized"


class CrossSite(AccessRefused):
    """A request that a browser makes for a page of another site, to a service that asks for no key."""

    code = "cross_site"


class UnknownHost(AccessRefused):
    """A request to a name that the service does not go by, as DNS rebinding makes it, where no key is asked for."""

    code = "unknown_host"


class HeaderTooLarge(CxrError):
    """A request line, header, trailer or chunk framing of more bytes than the limit."""

    code = "header_too_large"


class Unavailable(CxrError):
    """The service cannot answer at the moment.

    Attributes:
        retry_after_s: Seconds after which another try makes sense.
    """

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        """Set the message, and the seconds that a caller should wait."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(Unavailable):
    """The model is still being loaded, verified and warmed up."""

    code = "not_ready"


class DecoderUnavailable(Unavailable):
    """No decoder could be started, or the one of this image was ended from outside: no fault of the image."""

    code = "decoder_unavailable"


class Overloaded(Unavailable):
    """As many requests are in progress as the service admits."""

    code = "overloaded"


class RateLimited(Unavailable):
    """An API key that has sent as many uploads as it may at the moment."""

    code = "rate_limited"


class Stopping(Unavailable):
    """The service is being stopped; another one may already take its place."""

    code = "stopping"


class TooManyConnections(Unavailable):
    """As many connections as the service holds are busy."""

    code = "too_many_connections"


class TooSlow(CxrError):
    """A request that comes too slowly, or that is older than its deadline."""

    code = "too_slow"


class HeaderTooSlow(TooSlow):
    """A connection that did not send a whole header in time."""

    code = "header_too_slow"


class BodyTooSlow(TooSlow):
    """A request whose body does not keep coming, or had not arrived by its deadline."""

    code = "body_too_slow"


class DeadlinePassed(TooSlow):
    """A request whose deadline passed before its answer stood; it is not computed later."""

    code = "deadline_passed"


class SettingError(CxrError):
    """A setting that names what cannot be used, or may not be served with the others; the message says what to do."""

    code = "setting_error"


class ArtifactError(CxrError):
    """A model folder that is missing, damaged or made for another version of this software."""

    code = "artifact_error"


class EngineError(CxrError):
    """The inference engine failed."""

    code = "engine_error"


class EngineUnavailable(EngineError):
    """The chosen engine does not exist or is not installed."""

    code = "engine_unavailable"


class InferenceFailed(EngineError):
    """The engine raised while it computed an answer: a fault of ours, not of the upload."""

    code = "inference_failed"


class TrainingError(CxrError):
    """A training command cannot go on; the message says which input is at fault and what would be accepted."""

    code = "training_error"


class Diverged(TrainingError):
    """A training run whose loss is no longer a number."""

    code = "diverged"
