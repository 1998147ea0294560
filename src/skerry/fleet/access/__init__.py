"""Who may do what: people's tokens and roles, tokens to join with, members and the removed, the audit log."""
