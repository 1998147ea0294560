"""From packages to signed bytes."""
