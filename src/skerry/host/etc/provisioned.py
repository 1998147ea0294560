"""Which paths below /etc the cloud-config of this machine gives: they are rendered by it, not merged."""

from __future__ import annotations

from pathlib import Path

from skerry.host.provision.config import CloudConfig
from skerry.host.provision.plan import ENVIRONMENT_FILE, HOSTS_FILE, paths
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
    # What every plan looks at; those are files of their own, which no image has.
    found = paths(config) - paths(CloudConfig())
    if config.settings.timezone is not None:
        found.add("/etc/localtime")
    if config.hosts_line is not None:
        found.add(HOSTS_FILE)
    if config.waits:
        found.add(ENVIRONMENT_FILE)
    return frozenset(path.removeprefix(ETC) for path in found if path.startswith(ETC))
