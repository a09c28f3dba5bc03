"""The demo: a stream of our own making is published, recorded, and the file judged by another decoder."""

from aircheck.demo.run import DemoError, run_demo

__all__ = ["DemoError", "run_demo"]
