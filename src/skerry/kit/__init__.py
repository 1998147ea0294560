"""The few tools everything uses, one file each."""
