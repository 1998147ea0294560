"""Skerry: a small, immutable Debian host for containers, and the cluster that such hosts form."""

__version__ = "0.1.0"
