"""The console command `yoloseg`: each sub-command is `python -m yoloseg.<name>`, with _ for -."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence

from yoloseg.errors import YolosegError

COMMANDS = {
    "train": "train a network on the built-in shapes or on your own annotated pictures",
    "evaluate": "box and mask AP of a weights file or of results, by COCO, LVIS or YouTube-VIS",
    "predict": "draw the instances found in pictures, videos or a camera's stream",
    "track": "follow instances through a video or a camera's stream",
    "train-reid": "give a network a head by which tracking knows lost instances again",
    "export": "write one SavedModel, LiteRT or ONNX file that holds everything",
    "data": "check a data set before training, or write it in another format",
    "anchors": "fit anchor sizes to the boxes of a data set by k-means",
    "benchmark": "time every part of prediction and training on this machine",
}


def run_command(function: Callable[[], object]) -> int:
    """Calls `function`; an error that is the user's to mend is printed without a traceback.

    Returns the exit status.
    """
    # Frameworks greet with pages of notices; what matters is said by our own messages.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        function()
    except YolosegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`yoloseg COMMAND ...`; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        # the folder of that name has the command within it
        name = "data.__main__" if arguments[0] == "data" else arguments[0].replace("-", "_")
        return importlib.import_module(f"yoloseg.{name}").main(arguments[1:])
    if arguments in (["--version"], ["-V"]):
        from yoloseg import __version__

        print(f"yoloseg {__version__}")
        return 0
    usage = "usage: yoloseg COMMAND [flags]   (yoloseg COMMAND --help says more)\n\n"
    usage += "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    if arguments and arguments[0] not in ("-h", "--help"):
        print(f"error: there is no command {arguments[0]!r}\n\n{usage}", file=sys.stderr)
        return 2
    print(usage)
    return 0
