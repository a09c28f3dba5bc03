"""Why a peer is not taken, and how a peer ends.

AircheckError
├── BadOffer             the SDP cannot be read, or asks for what no one can give
│   └── BadFragment      the same of a trickled piece of it
├── NoCommonCodecs       none of the offered formats is known or allowed here
├── TooManyTracks        two cameras or two microphones, where none may be left out
├── NotAllowed           the gatekeeper said no
├── NameInUse            the stream name has a publisher
├── MediaSessionInUse    the id that the client chose for its media session is taken
├── StreamNotFound       nobody publishes what a viewer asks for
│   └── StreamNotReady       somebody does, but has sent nothing yet
└── TooManyPeers         as many as the settings allow are here already
"""

from __future__ import annotations

from aircheck.errors import AircheckError


class PeerRefused(AircheckError):
    """A peer is not taken. Faces translate the class into a status code or a text of theirs."""


class BadOffer(PeerRefused):
    pass


class BadFragment(BadOffer):
    pass


class NoCommonCodecs(PeerRefused):
    pass


class TooManyTracks(PeerRefused):
    pass


class NotAllowed(PeerRefused):
    pass


class NameInUse(PeerRefused):
    pass


class MediaSessionInUse(PeerRefused):
    pass


class StreamNotFound(PeerRefused):
    pass


class StreamNotReady(StreamNotFound):
    pass


class TooManyPeers(PeerRefused):
    pass
