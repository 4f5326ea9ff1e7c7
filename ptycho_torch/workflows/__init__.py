"""The historical workflows of this backend."""
