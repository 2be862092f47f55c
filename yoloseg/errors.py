"""Errors a user can act on. Each message names the file, the record and what to do."""


class YolosegError(Exception):
    """Base of every error that is the user's to mend; commands print it without a traceback."""


class UsageError(YolosegError):
    """A flag or argument that cannot work as given."""


class DataError(YolosegError):
    """An annotation file, picture or video that cannot be used."""


class WeightsError(YolosegError):
    """A weights file that cannot be read, or does not fit the network it is loaded into."""
