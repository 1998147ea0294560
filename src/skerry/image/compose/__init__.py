"""Recipe to tree to slot image to disk; one file a step."""
