"""`python -m yoloseg COMMAND`: the console command `yoloseg`, where that is not on the path."""

import sys

from yoloseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
