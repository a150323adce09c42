"""What `capsule help` says: topics, and a manual page made from the commands."""
