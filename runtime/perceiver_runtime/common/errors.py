"""The errors of this package: one family, each saying what happened, what was expected and what to do next.

`exit_code` is what the `perceiver` command returns for it: 1 bad input, 2 usage, 3 verification failed, 4 integrity
refused, 5 something missing on this machine.
"""

from __future__ import annotations


class PerceiverError(Exception):
    """Anything this package refuses or fails to do."""

    exit_code = 1


class InputError(PerceiverError):
    """The user's data cannot be used: an image, a point, a file of results."""


class UsageError(PerceiverError):
    """The call itself is wrong: an unknown device, a bundle of another task."""

    exit_code = 2


class VerificationError(PerceiverError):
    """A bundle's answer differs from its known answer."""

    exit_code = 3


class IntegrityError(PerceiverError):
    """A bundle is not as it was written: a file is missing, added or altered, or the manifest breaks its rules."""

    exit_code = 4


class BackendError(PerceiverError):
    """A package or device is missing on this machine, or it failed while running."""

    exit_code = 5


class NotFiniteError(BackendError):
    """A graph gave NaN or infinity."""


class ProviderFallbackWarning(UserWarning):
    """A graph runs elsewhere than was asked for, or than its bundle was exported for."""


class DamagedFileWarning(UserWarning):
    """A part of a file could not be read, and the rest is used."""


class UnpinnedWarning(UserWarning):
    """A bundle came from the hub as it is there today: another may be served under its name tomorrow."""
