"""`skerry release`: publish images to channels, sign for them, and keep the repository in order.

The verbs stand in files of their own by what they are about; this one says which there are.
"""

from __future__ import annotations

import click

from skerry.entry.cli.release_client import client
from skerry.entry.cli.release_copies import gc, mirror, serve, verify
from skerry.entry.cli.release_keys import channel, init, keys, refresh, renew
from skerry.entry.cli.release_publish import (
    floor,
    pause,
    promote,
    publish,
    resume,
    retire,
    rollout,
    withdraw,
)
from skerry.entry.cli.release_show import list_, show
from skerry.entry.cli.release_sign import assemble, prepare, sign


@click.group()
def release() -> None:
    """Publish images to channels, signed, for hosts to update from.

    A repository is a directory of static files that any web server can serve. `skerry release init` makes
    one with its keys, `publish` puts an image into a channel, `refresh` is for cron. SKERRY_REPOSITORY and
    SKERRY_KEYS name the two directories once for all.
    """


for _verb in (
    init, publish, promote, rollout, pause, resume, withdraw, retire, floor, refresh, renew, keys, channel,
    list_, show, prepare, sign, assemble, verify, gc, mirror, serve, client,
):  # fmt: skip
    release.add_command(_verb)
