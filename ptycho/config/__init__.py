"""The settings layer: what is trained (canonical) and how this machine runs it (execution)."""
