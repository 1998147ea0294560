"""Changes keys of the cluster again and again, and tells a witness outside of each that was acknowledged.

    python3 acknowledged.py NAME WITNESS_PORT        on a server
    python3 acknowledged.py                          tells what is there, as JSON: {"NAME-5": 37, …}

The keys are /acknowledged/NAME-<n modulo 32>; change n writes n there. What a change ended with is known to
the witness before the next begins, so it knows what must be found there whatever happens. Each begins after
the last that it finds: it never tells of a number twice.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from http.client import HTTPConnection, HTTPException

API = "/run/skerry/api.sock"
FOLDER = "/v2/keys/acknowledged"
KEYS = 32
PAUSE_S = 1.0
TIMEOUT_S = 30


class Api(HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(API)


def ask(method: str, path: str, body: str | None = None) -> tuple[int, dict[str, object]]:
    api = Api("localhost")
    try:
        api.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"} if body else {})
        answer = api.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        api.close()


def found() -> dict[str, int]:
    status, answer = ask("GET", f"{FOLDER}?quorum=true")
    if status == 404:
        return {}
    if status != 200:
        raise ValueError(answer)
    nodes = answer["node"].get("nodes", [])  # type: ignore[attr-defined]
    return {node["key"].rpartition("/")[2]: int(node["value"]) for node in nodes}


def last(name: str) -> int:
    return max((value for key, value in found().items() if key.rpartition("-")[0] == name), default=0)


def main(name: str, port: int) -> None:
    number: int | None = None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as witness:
        while True:
            try:
                number = last(name) if number is None else number
                path = f"{FOLDER}/{name}-{(number + 1) % KEYS}"
                status, _ = ask("PUT", path, f"value={number + 1}")
                # Refused or not, it may have been done: the next is another number.
                number += 1
                if status in (200, 201):
                    witness.sendto(f"ack {name} {number}".encode(), ("10.0.2.2", port))
            except (OSError, HTTPException, ValueError, KeyError):
                number = None
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(found()))
        sys.exit(0)
    main(sys.argv[1], int(sys.argv[2]))
