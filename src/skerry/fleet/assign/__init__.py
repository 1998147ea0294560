"""The servers' half of a node: what it is to hold, as a stream."""
