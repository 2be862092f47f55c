"""`python -m yoloseg.train`: trains a network and leaves a run folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from yoloseg.cli import run_command
from yoloseg.errors import UsageError
from yoloseg.training.config import TrainConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after an error of the user's, printed to stderr."""
    try:
        config = tyro.cli(TrainConfig, args=argv, prog="yoloseg train")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    def run() -> None:
        from yoloseg.training.run import train

        train(config)

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
