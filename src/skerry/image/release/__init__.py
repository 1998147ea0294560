"""Releases: what is published, signed, to whom and when, and how a host comes to trust it."""
