"""Heads on the feature maps of a network, one a file."""
