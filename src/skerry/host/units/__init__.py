"""Parse, render, and drive systemd and Podman."""
