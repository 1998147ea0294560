"""Where units run: a pure, incremental planner, and the leader's loop that carries its plans out."""
