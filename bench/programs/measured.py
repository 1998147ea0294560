"""Run a program and say what it took: python3 -IS measured.py RESULT PROGRAM ARGUMENT…

RESULT gets {"cpu_s", "peak_bytes"} of the program and all that it waited for. It is a process of its own
since Linux counts the memory of who starts a program as that program's too: this one weighs some 9 MB.
"""

import json
import os
import resource
import sys


def main() -> int:
    result, argv = sys.argv[1], sys.argv[2:]
    child = os.posix_spawnp(argv[0], argv, os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(result, "w") as file:  # noqa: PTH123 (pathlib would be a third of its memory)
        json.dump({"cpu_s": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}, file)
    return status


if __name__ == "__main__":
    sys.exit(main())
