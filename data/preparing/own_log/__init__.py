"""The source of somebody's own log, below its class: its settings, its side tables, how its store is made."""
