"""Typed errors. Each message names the value, what was expected and what to do."""


class ClipSurgeryError(Exception):
    """Base of every error that this package raises on purpose; its text is for the operator."""


class QueryError(ClipSurgeryError):
    """A text query cannot be used (too many labels, too long, not text)."""


class ImageError(ClipSurgeryError):
    """An image cannot be used (encoding, size, step, truncated data)."""


class WeightsError(ClipSurgeryError):
    """A weight file is missing, damaged, or not of the expected network."""


class ConfigError(ClipSurgeryError):
    """A parameter, or a combination of parameters, cannot be used."""


class DeviceError(ClipSurgeryError):
    """The requested device is not available, or ran out of memory."""


class DeviceLostError(DeviceError):
    """The GPU computes nothing any more in this process; only a new process can use it."""


class WorldError(ClipSurgeryError):
    """The rendered world cannot be made (a missing package, an impossible request)."""


class SpaceError(ClipSurgeryError):
    """Depth, a camera model or a transform cannot be used."""
