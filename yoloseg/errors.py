"""Errors a user can act on. Each message names the file, the record and what to do."""

import reprlib


class YolosegError(Exception):
    """Base of every error that is the user's to mend; commands print it without a traceback."""


class UsageError(YolosegError):
    """A flag or argument that cannot work as given."""


class DataError(YolosegError):
    """An annotation file, picture or video that cannot be used."""


class WeightsError(YolosegError):
    """A weights file that cannot be read, or does not fit the network it is loaded into."""


def shown(value: object) -> str:
    """A value from a file for a message: as Python writes it, cut where it is long."""
    try:
        return reprlib.repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__} too long to show"
