"""The HTTP API: one file per resource, codec, events, client."""
