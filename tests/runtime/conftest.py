"""Channels in plain memory, as lockstep has them but without delays."""

import pytest

from runtime.channels import Channels, channel_bytes, channel_table


@pytest.fixture
def channels() -> Channels:
    table = channel_table(8, (96, 128, 3))
    return Channels(table, {name: bytearray(channel_bytes(row)) for name, row in table.items()})
