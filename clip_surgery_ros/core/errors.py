"""Typed errors: each names the value, what was expected and what to do."""


class ClipSurgeryError(Exception):
    """Base of every error this package raises on purpose; its text is fit for an operator."""


class QueryError(ClipSurgeryError):
    """A text query cannot be used (too many labels, too long, not text)."""


class ImageError(ClipSurgeryError):
    """An image cannot be used (encoding, size, step, truncated data)."""


class WeightsError(ClipSurgeryError):
    """A weight file is missing, damaged, or not of the expected network."""


class ConfigError(ClipSurgeryError):
    """A parameter, or a pair of them, cannot be used as given."""


class DeviceError(ClipSurgeryError):
    """The device asked for is not there or ran out of memory."""


class WorldError(ClipSurgeryError):
    """The rendered world cannot be made (a wheel is missing, an impossible request)."""
