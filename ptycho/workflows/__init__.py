"""Workflows under their historical names: train on one scan, reconstruct another."""
