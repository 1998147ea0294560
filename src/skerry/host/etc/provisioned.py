"""Which paths below /etc the cloud-config of this machine gives: they are rendered by it, not merged."""

from __future__ import annotations

from pathlib import Path

from skerry.host.provision.plan import (
    DAEMON_FILE,
    ENVIRONMENT_FILE,
    HOSTS_FILE,
    NTP_FILE,
    REGISTRIES_FILE,
    paths,
)
from skerry.host.provision.reading import read_config
from skerry.host.provision.report import state_directory

ETC = "/etc/"


def provisioned_paths(root: Path = Path("/")) -> frozenset[str]:
    """Relative to /etc, from the document that was applied last; none where there was none."""
    try:
        data = (state_directory(root) / "document").read_bytes()
    except OSError:
        return frozenset()
    config, _ = read_config(data, "cloud-config")
    settings = config.settings
    given = {
        DAEMON_FILE: settings.daemon is not None,
        REGISTRIES_FILE: bool(settings.registries),
        NTP_FILE: bool(settings.ntp),
        "/etc/localtime": settings.timezone is not None,
    }
    found = {path for path in paths(config) if given.get(path, True)}
    if config.hosts_line is not None:
        found.add(HOSTS_FILE)
    if config.waits:
        found.add(ENVIRONMENT_FILE)
    return frozenset(path.removeprefix(ETC) for path in found if path.startswith(ETC))
