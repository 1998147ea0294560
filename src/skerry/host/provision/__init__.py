"""First boot: sources, schema, users, files, units."""
