"""The cloud-config a node is given: the user's document, with what makes it a node of this lab.

The lab adds the node's name, the registry as a mirror of every image, and files that the node needs else.
The user's own keys win; lists are put together.
"""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from skerry_lab.errors import LabError

HEADER = "#cloud-config"
MIRROR_PATH = "/etc/containers/registries.conf.d/50-lab.conf"


def with_lab(
    text: str, *, hostname: str, registry: str | None = None, files: Mapping[str, str] | None = None
) -> str:
    """The document for one node. `registry` is host:port as the node sees it. Raises LabError."""
    document = _parse(text)
    document.setdefault("hostname", hostname)
    added = dict(files or {})
    if registry is not None:
        added[MIRROR_PATH] = mirror_settings(registry)
    if added:
        there = document.get("write_files")
        ours = [{"path": path, "content": content} for path, content in added.items()]
        document["write_files"] = [*(there if isinstance(there, list) else []), *ours]
    return f"{HEADER}\n{yaml.safe_dump(document, sort_keys=False)}"


def mirror_settings(registry: str) -> str:
    """containers-registries.conf(5): what Docker Hub's names mean in a lab."""
    return f"""# Written by skerry lab: the images come from the lab's own registry.
unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"

[[registry]]
location = "docker.io"

[[registry.mirror]]
location = "{registry}"
insecure = true
"""


def _parse(text: str) -> dict[str, object]:
    if not text.strip():
        return {}
    if text.splitlines()[0].rstrip() != HEADER:
        raise LabError(
            "the cloud-config does not begin with #cloud-config", hint="that must be its first line"
        )
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise LabError(
            f"the cloud-config is not YAML: {error}", hint="see: skerry provision check FILE"
        ) from error
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise LabError("the cloud-config is not a mapping", hint="see: skerry provision check FILE")
    return {str(key).replace("-", "_"): value for key, value in document.items()}
