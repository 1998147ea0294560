"""One interface to the desired state; memory and SQLite behind it."""
