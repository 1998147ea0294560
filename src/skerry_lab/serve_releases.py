"""A program that serves a release repository on loopback, at a port that it tells on its first line.

python -m skerry_lab.serve_releases DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

from skerry.image.release.serve import Server


def main() -> None:
    """Run as a program, see above."""
    with Server(Path(sys.argv[1]), "127.0.0.1", 0) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
