"""What people and systemd start."""
