"""How much of a peer is believed: sizes on the wire are compared with these before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    max_message_bytes: int = 10 * 1024 * 1024
    """Longest message. A key frame of 50 Mbit/s 4K video stays below 2 MiB."""
    max_chunk_size: int = 16 * 1024 * 1024
    """Largest set-chunk-size; a longer chunk cannot exist, because lengths of messages have 24 bits."""
    max_pending_bytes: int = 20 * 1024 * 1024
    """Announced size of all messages that have begun and are not complete."""
    max_chunk_streams: int = 256
    """Chunk streams a peer may open; encoders use about six."""
    max_message_streams: int = 64
    """Message streams a peer may have open at one time; encoders use one."""
    max_amf_bytes: int = 256 * 1024
    """Longest command."""


DEFAULT_LIMITS = Limits()
