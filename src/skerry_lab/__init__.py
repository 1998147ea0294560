"""Nodes for tests and demos: nspawn, QEMU, registry, journal."""
