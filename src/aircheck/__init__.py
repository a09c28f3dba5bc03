"""Aircheck: a live-stream recorder. Any publisher in, files you can trust out."""

__version__ = "0.1.0"
