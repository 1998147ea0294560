"""Many machines agreeing."""
