"""RTP and RTCP without I/O: packets and reports, order and loss, frames to payloads and back."""
