"""A node's share: observe, plan, carry out."""
