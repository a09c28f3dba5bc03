"""Flashphoner WCS: its settings file, so that a server of ours can take over from one."""
