"""Composition root of `skerryd`: the only place that wires things together."""
