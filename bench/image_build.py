"""How long a second `skerry image build` takes, next to mmdebstrap with the same packages and no cache.

The first case finds every step unchanged; the next composes tree, root, UKI and disk anew from installed
packages. The peer ends where we have a tar of packages. Needs an image that was built: `make image`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import milliseconds, run

from skerry.image.compose.build import DEFAULT_RECIPE, Store, build
from skerry.image.compose.mirror import KEYRING, find_mirror
from skerry.image.compose.recipe import load

ROUNDS = 2
SKERRY = str(Path(sys.executable).parent / "skerry")


def main() -> None:
    image = build()
    cache = Store().cache

    def anew() -> float:
        with tempfile.TemporaryDirectory(prefix="skerry-bench-") as name:
            steps = Path(name, "steps")
            steps.mkdir()
            for step in ("tools", "packages"):
                kept = f"{step}-{image.steps[step]}"
                (steps / kept).symlink_to(cache / "steps" / kept)
            begun = time.perf_counter()
            subprocess.run(
                [SKERRY, "image", "build"], check=True, env=os.environ | {"SKERRY_CACHE": name},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            return (time.perf_counter() - begun) * 1e3

    recipe = load(DEFAULT_RECIPE)
    names = ",".join([*recipe.packages, recipe.kernel_package])
    sources = find_mirror(recipe=recipe.mirror, recipe_security=recipe.security_mirror).sources(recipe.suite)
    peer = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={names}", f"--keyring={KEYRING}"]
    peer += ["--format=tar", recipe.suite, "/dev/null", *sources]
    cases = {
        "skerry, nothing changed": milliseconds([SKERRY, "image", "build"]),
        "skerry, from packages": anew,
    }
    if shutil.which("mmdebstrap") is not None:
        cases["mmdebstrap, packages only"] = milliseconds(peer)
    run("image_build", "ms", cases, rounds=ROUNDS, goal=1000)
    print(json.dumps({"root_bytes": image.root_bytes, "uki_bytes": image.uki_bytes}))


if __name__ == "__main__":
    main()
