"""The bytes of a release: what of it is on a host already, the rest fetched small, and all of it verified."""
