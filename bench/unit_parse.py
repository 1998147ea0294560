"""How long it takes to read a unit file and to hash it as fleet did; the peer is the standard library.

configparser keeps the last of repeated options only, so it could not do the work; it shows what is cheap.
"""

from __future__ import annotations

import configparser
import hashlib

from harness import microseconds, run

from skerry.host.units.unit_file import parse_unit, unit_hash

TEXT = """[Unit]
Description=My Advanced Service
After=etcd.service
After=docker.service

[Service]
TimeoutStartSec=0
ExecStartPre=-/usr/bin/docker kill apache1
ExecStartPre=-/usr/bin/docker rm apache1
ExecStartPre=/usr/bin/docker pull coreos/apache
ExecStart=/usr/bin/docker run --name apache1 -p 8081:80 coreos/apache /usr/sbin/apache2ctl -D FOREGROUND
ExecStartPost=/usr/bin/etcdctl set /domains/example.com/10.10.10.123:8081 running
ExecStop=/usr/bin/docker stop apache1
ExecStopPost=/usr/bin/etcdctl rm /domains/example.com/10.10.10.123:8081

[Install]
WantedBy=multi-user.target
"""


def ours() -> str:
    return unit_hash(parse_unit(TEXT, "apache.1.service"))


def standard() -> str:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.read_string(TEXT)
    return hashlib.sha1(TEXT.encode(), usedforsecurity=False).hexdigest()


def main() -> None:
    cases = {
        "skerry parse and hash": microseconds(ours, times=1000),
        "configparser and sha1": microseconds(standard, times=1000),
    }
    run("unit_parse", "µs", cases)


if __name__ == "__main__":
    main()
