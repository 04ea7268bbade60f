"""Losses of dense outputs, one a file."""
