"""What a command says, and to whom: errors, logs, alerts, its outcome. No password is in any of it."""
