"""``python -m fastnet``: the same as the command ``fastnet``."""

import sys

from fastnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
