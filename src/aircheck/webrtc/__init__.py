"""Peers that publish and peers that watch over WebRTC: offer and answer, ICE, DTLS, SRTP, RTP."""
