"""What happens in a run: training, resuming, reconstruction, and what they leave in its folder."""
