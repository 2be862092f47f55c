"""YAML that people write: read whole, or refused with what is wrong in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from yoloseg.errors import DataError

DEEPEST = 20  # brackets within each other


def read_yaml(path: Path) -> Any:
    """What the file holds. Raises DataError where it cannot be read, is no text or no YAML."""
    try:
        text = path.read_text(encoding="utf-8")
        if _too_deep(text):
            raise DataError(f"{path}: broken YAML: more than {DEEPEST} brackets within each other")
        return yaml.safe_load(text)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # what PyYAML raises beside its own for 2026-99-99, `!!int ""` and the like
        raise DataError(f"{path}: broken YAML: {' '.join(str(error).split())}") from error


def _too_deep(text: str) -> bool:
    """Whether more than DEEPEST brackets are open at once: PyYAML's time grows with the square of their
    number. Raises yaml.YAMLError."""
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        depth += isinstance(token, (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken))
        depth -= isinstance(token, (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken))
        if depth > DEEPEST:
            return True
    return False
