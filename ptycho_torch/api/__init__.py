"""Doors for programs that drive this package by the names of an earlier one; ptychodus is such a program."""
