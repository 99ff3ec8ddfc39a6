"""What is ours in SMP: a framing that steps over telemetry on the same port, and the board's own group."""

from __future__ import annotations

from collections.abc import Iterator

from smp import error as smp_error
from smp import image_management, message
from smpclient.transport.serial import Cobs

from firmware_bridge.protocol import SMP_LIMIT

GROUP = 66  # firmware/boot/smp.h


class LinkFraming:
    """COBS and CRC as smpclient's own `Cobs`, but frames that are no SMP are stepped over."""

    def __init__(self) -> None:
        self._cobs = Cobs()

    def encode(self, data: bytes) -> Iterator[bytes]:
        """Wire bytes of an SMP message."""
        return self._cobs.encode(data)

    def feed(self, data: bytes) -> None:
        """Bytes that came."""
        self._cobs.feed(data)

    def take(self) -> bytes | None:
        """The next SMP message."""
        while (frame := self._cobs.take()) is not None:
            if frame[0] < SMP_LIMIT:
                return bytes(frame)
        return None

    def reset(self) -> None:
        """Begin anew."""
        self._cobs.reset()


class InfoReadRequest(message.ReadRequest):
    """The board, who serves, and what stands in its slots."""

    _GROUP_ID = GROUP
    _COMMAND_ID = 0


class InfoReadResponse(message.ReadResponse):
    """See firmware/boot/smp.c, on_companion()."""

    _GROUP_ID = GROUP
    _COMMAND_ID = 0

    hardware: str
    uid: bytes
    application: bool
    driving: bool
    slot: int
    trial: bool
    schema_crc: int
    reset_cause: int
    refused: str
    refused_slot: int
    verdicts: list[str]


class InfoErrorV2(smp_error.ErrorV2[smp_error.MGMT_ERR]):
    """Never sent by our boards, but smpclient wants to know."""

    _GROUP_ID = GROUP


class InfoRead(InfoReadRequest):
    """Request with its answers."""

    _Response = InfoReadResponse
    _ErrorV1 = smp_error.ErrorV1
    _ErrorV2 = InfoErrorV2


class ForcedStatesWriteRequest(image_management.ImageStatesWriteRequest):
    """An image state write that also allows an older image."""

    force: bool = True


class ForcedStatesWrite(ForcedStatesWriteRequest):
    """Request with its answers."""

    _Response = image_management.ImageStatesWriteResponse
    _ErrorV1 = image_management.ImageManagementErrorV1
    _ErrorV2 = image_management.ImageManagementErrorV2
