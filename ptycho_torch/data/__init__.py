"""Scans as data sets of groups, and the loaders that feed them to a model."""
