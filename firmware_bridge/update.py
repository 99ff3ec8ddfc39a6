"""The host's end of an update: `smpclient` over the link's own framing.

smpclient does the protocol; this adds an upload that goes on after a broken link, and names for what a
board refuses. Our own messages and framing: `smp_messages.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from smp import image_management
from smpclient import SMPClient
from smpclient.exceptions import SMPClientException, SMPUploadError
from smpclient.generics import SMPRequest
from smpclient.generics import error as is_error
from smpclient.requests.image_management import ImageStatesRead, ImageStatesWrite
from smpclient.requests.os_management import EchoWrite, ResetWrite
from smpclient.transport import SMPTransportDisconnected
from smpclient.transport.serial import SMPSerialRawTransport

from firmware_bridge.errors import LinkLost, UpdateError
from firmware_bridge.protocol import MAX_SMP, ResetCause
from firmware_bridge.smp_messages import ForcedStatesWrite, InfoRead, LinkFraming

ERASE_TIMEOUT_S = 20.0  # a sector of 128 KiB takes an STM32 up to four seconds
WRITE_TIMEOUT_S = 2.0  # of a port that takes nothing any more
RETRIES = 5
LOST = (TimeoutError, SMPTransportDisconnected, SMPClientException, OSError)

T = TypeVar("T")
# what it logs at a timeout is ours to say, in one sentence; without a handler Python prints it
logging.getLogger("smpclient").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class BoardInfo:
    """What a board says of itself; `refused` is why its last update did not get through.

    `verdicts` of the two slots are empty while the robot is active: a check would hold up its motors.
    """

    hardware: str
    uid: str
    application: bool
    driving: bool
    slot: int
    trial: bool
    schema: int
    reset_cause: ResetCause
    refused: str
    refused_slot: int
    verdicts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SlotImage:
    """A valid image in a slot."""

    slot: int
    version: str
    sha256: bytes
    active: bool
    confirmed: bool
    pending: bool


def uid_text(uid: bytes) -> str:
    """As `Identity.uid`: plain text where it is text, else hex."""
    plain = uid.rstrip(b"\0")
    text = plain.decode("ascii", "replace")
    return text if plain and plain.isascii() and text.isprintable() else uid.hex()


class UpdatePort:
    """One board's update server behind a serial port; UpdateError says what it refused."""

    def __init__(self, port: str, baud: int = 921_600, timeout_s: float = 2.5) -> None:
        self.port, self._baud, self._timeout_s = port, baud, timeout_s
        self._loop = asyncio.new_event_loop()
        self._client: SMPClient | None = None

    def __enter__(self) -> UpdatePort:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back."""
        self._disconnect()
        self._loop.close()

    def info(self) -> BoardInfo:
        """What the board says of itself."""
        r = self._request(InfoRead())
        return BoardInfo(
            hardware=r.hardware, uid=uid_text(r.uid), application=r.application,
            driving=r.driving, slot=r.slot, trial=r.trial, schema=r.schema_crc,
            reset_cause=ResetCause(min(r.reset_cause, max(ResetCause))),
            refused=r.refused, refused_slot=r.refused_slot, verdicts=tuple(r.verdicts),
        )  # fmt: skip

    def images(self) -> list[SlotImage]:
        """The valid images."""
        return _slots(self._request(ImageStatesRead()))

    def echo(self, text: str) -> str:
        """What a board answers to an echo."""
        return str(self._request(EchoWrite(d=text)).r)

    def test(self, digest: bytes, force: bool = False) -> list[SlotImage]:
        """Ask for one trial boot of an image."""
        request = (
            ForcedStatesWrite(hash=digest, force=True) if force else ImageStatesWrite(hash=digest)
        )
        return _slots(self._request(request))

    def confirm(self) -> list[SlotImage]:
        """Keep the running image."""
        return _slots(self._request(ImageStatesWrite(confirm=True)))

    def reset(self) -> None:
        """Reset the board; its port stays.

        Asked again only where an image still waits: a second reset would reach one on its trial boot,
        which counts as failed then.
        """
        self.echo("reset")
        try:
            reply = self._run(self._connected().request(ResetWrite()))
        except LOST:  # the board went before its answer did, or never heard
            reply = None
        self._disconnect()
        if reply is None and self._still_waits():
            reply = self._request(ResetWrite())
            self._disconnect()
        if reply is not None and is_error(reply):
            raise UpdateError(f"the board refused: {_why(reply)}")

    def _still_waits(self) -> bool:
        """Whether an image still waits for its trial boot: then no reset was heard."""
        try:
            return any(image.pending for image in self.images())
        except LinkLost:
            return False
        finally:
            self._disconnect()

    def upload(
        self, data: bytes, progress: Callable[[int], None], broke: Callable[[], None] = lambda: None
    ) -> None:
        """Upload an image, told in bytes; a link that breaks is told once and taken up where it was."""
        tries, furthest = 0, 0

        def sent(done: int) -> None:
            nonlocal tries, furthest
            progress(done)
            tries = tries if done <= furthest else 0
            furthest = max(furthest, done)

        while True:
            try:
                self._run(self._send(self._connected(), data, sent))
                return
            except SMPUploadError as error:
                raise UpdateError(f"upload: the board refused: {_why(error.args[0])}") from error
            except LOST as error:
                tries += 1
                self._disconnect()
                if tries == 1:
                    broke()
                if tries > RETRIES:
                    raise LinkLost(
                        f"upload: the link broke at {furthest} of {len(data)} bytes and stayed away "
                        f"({_sentence(error)}); check cable and power, then run it again: it goes on there"
                    ) from error

    async def _send(self, client: SMPClient, data: bytes, sent: Callable[[int], None]) -> None:
        async for done in client.upload(data, first_timeout_s=ERASE_TIMEOUT_S):
            sent(done)

    def _request(self, request: SMPRequest[Any, Any, Any]) -> Any:
        """One request, again once after a lost link."""
        for last in (False, True):
            try:
                reply = self._run(self._connected().request(request))
                break
            except LOST as error:
                self._disconnect()
                if last:
                    raise LinkLost(
                        f"port {self.port}: no update server answers ({_sentence(error)}); is it a "
                        "board of ours, with power? `companion doctor` lists ports"
                    ) from error
        if is_error(reply):
            raise UpdateError(f"the board refused: {_why(reply)}")
        return reply

    def _connected(self) -> SMPClient:
        if self._client is None:
            transport = SMPSerialRawTransport(
                mtu=MAX_SMP,
                framing=LinkFraming(),
                baudrate=self._baud,
                exclusive=True,
                write_timeout=WRITE_TIMEOUT_S,
            )
            self._client = SMPClient(transport, self.port, timeout_s=self._timeout_s)
            self._run(self._client.connect())
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            try:
                self._run(client.disconnect())
            except LOST:
                pass  # it is gone already

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        task = self._loop.create_task(work)
        try:
            with self._signals_cancel(task):
                return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    @contextlib.contextmanager
    def _signals_cancel(self, task: asyncio.Task[Any]) -> Iterator[None]:
        """An exception amid the loop's own steps can lose a wake-up, and the work then never ends (seen).

        So whatever signal would raise one, Ctrl-C or the end of an ssh session, cancels the work.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            before = {n: h for n in ends if callable(h := signal.getsignal(n))}
        for number in before:
            self._loop.add_signal_handler(number, task.cancel)
        try:
            yield
        finally:
            for number, handler in before.items():
                self._loop.remove_signal_handler(number)
                signal.signal(number, handler)


def _slots(reply: image_management.ImageStatesReadResponse) -> list[SlotImage]:
    return [
        SlotImage(
            i.slot, i.version, bytes(i.hash or b""),
            bool(i.active), bool(i.confirmed), bool(i.pending),
        )
        for i in reply.images
    ]  # fmt: skip


def _why(reply: object) -> str:
    """The board's own sentence."""
    code = getattr(reply, "rc", None) or getattr(reply, "err", reply)
    return str(getattr(reply, "rsn", None) or f"code {code}")


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split(" waiting for request")[0][:120] or type(error).__name__
