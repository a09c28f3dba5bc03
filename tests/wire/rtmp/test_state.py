from __future__ import annotations

from aircheck.wire.rtmp import state
from aircheck.wire.rtmp.client import ClientConnection
from aircheck.wire.rtmp.connection import ServerConnection
from aircheck.wire.rtmp.state import ConnectionInput, ConnectionState, StreamInput, StreamState

TABLES = [
    (ServerConnection, state.SERVER_CONNECTION),
    (ServerConnection, state.SERVER_STREAM),
    (ClientConnection, state.CLIENT_CONNECTION),
    (ClientConnection, state.CLIENT_STREAM),
]


def test_every_handler_is_a_method_and_every_table_is_used() -> None:
    for connection, table in TABLES:
        assert table in (connection._connection_table, connection._stream_table)
        for transition in table.values():
            assert callable(getattr(connection, transition.handler))


def test_every_connection_can_end_from_every_state_but_the_end() -> None:
    for table in (state.SERVER_CONNECTION, state.CLIENT_CONNECTION):
        for current in ConnectionState:
            transition = table.get((current, ConnectionInput.END))
            if current is ConnectionState.ENDED:
                assert transition is None
            else:
                assert transition is not None
                assert transition.next_state is ConnectionState.ENDED


def test_every_stream_state_knows_what_to_do_with_what_a_client_may_send_at_any_time() -> None:
    anytime = {StreamInput.PUBLISH, StreamInput.PLAY, StreamInput.PAUSE, StreamInput.SEEK, StreamInput.CLOSE}
    for current in set(StreamState) - {StreamState.CREATING}:
        for trigger in anytime | {StreamInput.MEDIA}:
            assert (current, trigger) in state.SERVER_STREAM


def test_every_stream_state_of_a_client_knows_what_a_server_may_send_at_any_time() -> None:
    anytime = {StreamInput.STARTED, StreamInput.REFUSED, StreamInput.CLOSE, StreamInput.MEDIA}
    for current in set(StreamState) - {StreamState.CREATING}:
        for trigger in anytime:
            assert (current, trigger) in state.CLIENT_STREAM


def test_media_counts_only_where_it_was_asked_for() -> None:
    delivering = {key for key, to in state.SERVER_STREAM.items() if to.handler == "_deliver"}
    assert {current for current, _ in delivering} == {StreamState.PUBLISH_ASKED, StreamState.PUBLISHING}
