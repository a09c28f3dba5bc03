"""Flashphoner's WebSDK: the WebSocket protocol by which its pages publish and play over WebRTC."""
