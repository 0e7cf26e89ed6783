"""Desk: a Linux desktop for every person, one ssh away."""

__version__ = "0.1.0"
