"""Who is there: facts of machines, who leads, and who lives."""
