"""Networks that predict object patches: one architecture per file."""
