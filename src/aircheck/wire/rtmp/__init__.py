"""RTMP without I/O: bytes in, events out; calls in, bytes out. Server and client.

Start reading at `base`, which holds the contract with whoever does the I/O, then `state` for what is allowed
when, `chunks` for the bytes, and `connection` and `client` for the two ends.
"""
