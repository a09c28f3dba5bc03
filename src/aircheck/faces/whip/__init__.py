"""WebRTC over HTTP: WHIP (RFC 9725) to publish, WHEP (draft-ietf-wish-whep) to watch."""
