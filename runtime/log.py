"""The black box: one MCAP file per run, every record JSON, pictures as foxglove.CompressedImage.

Opens in Foxglove as it is; `read_log` gives the records back as arrays, also from a file whose
writer was killed (everything up to the last flush).
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from runtime.camera import import_cv2
from runtime.channels import Channel, Channels, Record
from runtime.errors import ConfigError, RuntimeFault

CHUNK_BYTES = 256 * 1024
Arrays = dict[str, npt.NDArray[np.void]]


def encode_record(row: Channel, record: Record) -> bytes:
    """One record as JSON; a `pixels` field becomes a PNG that Foxglove shows."""
    names = row.dtype.names or ()
    out: dict[str, Any] = {}
    for name in names:
        if name == "pad":
            continue
        value = record[name]
        if name == "pixels":
            out["data"] = base64.b64encode(_png(value)).decode()
            out["format"] = "png"
            out["frame_id"] = "camera_optical_frame"
            t_ns = int(record["t_ns"])
            out["timestamp"] = {"sec": t_ns // 1_000_000_000, "nsec": t_ns % 1_000_000_000}
        elif value.dtype.kind == "S":
            out[name] = value.item().decode(errors="replace")
        else:
            out[name] = value.tolist()
    return msgspec.json.encode(out)


def decode_record(row: Channel, data: bytes, out: Record) -> None:
    """Fill a record of the channel's dtype from its JSON."""
    found = msgspec.json.decode(data)
    for name in row.dtype.names or ():
        if name == "pad":
            continue
        if name == "pixels":
            cv2 = import_cv2()
            raw = np.frombuffer(base64.b64decode(found["data"]), np.uint8)
            out[name] = cv2.imdecode(raw, cv2.IMREAD_COLOR)[:, :, ::-1]
        elif row.dtype[name].kind == "S":
            out[name] = found[name].encode()
        elif row.dtype[name].base.kind == "f":
            out[name] = np.array(found[name], dtype=float)  # null (not finite) becomes NaN
        else:
            out[name] = found[name]


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    cv2 = import_cv2()
    done, data = cv2.imencode(".png", pixels[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return bytes(data)


def json_schema(row: Channel) -> dict[str, Any]:
    """JSON schema of a channel, for Foxglove's panels."""
    kinds = {"f": "number", "i": "integer", "u": "integer", "S": "string"}
    properties: dict[str, Any] = {}
    names = row.dtype.names or ()
    for name in names:
        if name in ("pad", "pixels"):
            continue
        field = row.dtype[name]
        kind: dict[str, Any] = {"type": kinds[field.base.kind]}
        properties[name] = {"type": "array", "items": kind} if field.shape else kind
    if "pixels" in names:
        time = {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}
        properties["timestamp"] = {"type": "object", "title": "time", "properties": time}
        properties["data"] = {"type": "string", "contentEncoding": "base64"}
        properties["format"] = properties["frame_id"] = {"type": "string"}
    title = "foxglove.CompressedImage" if "pixels" in names else f"companion.{row.name}"
    return {"type": "object", "title": title, "properties": properties}


class Sink(Protocol):
    """Where the recorder puts records."""

    def write(self, row: Channel, record: Record) -> None:
        """Take one record."""

    def flush(self) -> None:
        """Make durable what was taken."""

    def close(self) -> None:
        """End the log."""


class MemorySink:
    """Keeps the records: lockstep's report needs no file."""

    def __init__(self) -> None:
        self._records: dict[str, list[Record]] = {}

    def write(self, row: Channel, record: Record) -> None:
        """See `Sink`."""
        self._records.setdefault(row.name, []).append(record)

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def arrays(self) -> Arrays:
        """All records by channel."""
        # joining bytes is ten times quicker than np.stack, which promotes the dtype field by field
        return {
            name: np.frombuffer(b"".join(r.tobytes() for r in records), records[0].dtype).copy()
            for name, records in self._records.items()
        }


class McapSink:
    """An MCAP file through foxglove-sdk."""

    def __init__(self, path: Path, rows: list[Channel], metadata: dict[str, str]) -> None:
        try:
            import foxglove
            from foxglove.mcap import MCAPWriteOptions
        except ImportError as error:
            raise ConfigError(
                "recording needs foxglove-sdk, which is not installed; pip install foxglove-sdk"
            ) from error
        path.parent.mkdir(parents=True, exist_ok=True)
        context = self._context = foxglove.Context()  # channels close when their context goes
        self.path = path
        with self._writing():
            self._writer = foxglove.open_mcap(
                path, context=context, writer_options=MCAPWriteOptions(chunk_size=CHUNK_BYTES)
            )
            self._writer.write_metadata("companion", metadata)
        self._channels = {
            row.name: foxglove.Channel(
                f"/companion/{row.name.replace('.', '/')}",
                schema=foxglove.Schema(
                    name=json_schema(row)["title"],
                    encoding="jsonschema",
                    data=msgspec.json.encode(json_schema(row)),
                ),
                message_encoding="json",
                context=context,
            )
            for row in rows
        }

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """The SDK knows one exception for all; most often the disk is full."""
        try:
            yield
        except RuntimeError as error:
            free_mb = shutil.disk_usage(self.path.parent).free / 1e6
            raise RuntimeFault(
                f"the log {self.path} cannot be written ({free_mb:.0f} MB are free on its disk; "
                f"{error}); delete old logs or give --record a folder on another disk"
            ) from error

    def write(self, row: Channel, record: Record) -> None:
        """See `Sink`."""
        self._channels[row.name].log(encode_record(row, record), log_time=int(record["t_ns"]))

    def flush(self) -> None:
        """Finish the chunk: a later kill loses nothing of it."""
        with self._writing():
            self._writer.flush()

    def close(self) -> None:
        """Write the summary and close."""
        with self._writing():
            self._writer.close()


class Recorder:
    """Drains every logged channel into its sinks (10 Hz), and counts what it missed."""

    FLUSH_EVERY = 4  # steps: under half a second of black box can be lost

    def __init__(self, channels: Channels, sinks: list[Sink]) -> None:
        self._sinks = sinks
        self._readers = [
            channels.reader(name) for name, row in channels.table.items() if row.log_every
        ]
        self._count = [0] * len(self._readers)
        self._steps = 0

    @property
    def missed(self) -> int:
        """Records that were overwritten before they were read."""
        return sum(reader.missed for reader in self._readers)

    def step(self, now_ns: int) -> None:
        """Drain all channels once."""
        for i, reader in enumerate(self._readers):
            for record in reader.drain():
                if self._count[i] % reader.row.log_every == 0:
                    for sink in self._sinks:
                        sink.write(reader.row, record)
                self._count[i] += 1
        self._steps += 1
        if self._steps % self.FLUSH_EVERY == 0:
            for sink in self._sinks:
                sink.flush()

    def give_up(self) -> None:
        """Write no more: what was flushed stays readable."""
        self._sinks = []

    def close(self, now_ns: int) -> None:
        """Drain once more and end the log."""
        self.step(now_ns)
        for sink in self._sinks:
            sink.close()


def whole_records(path: Path) -> Iterator[Any]:
    """Every whole MCAP record of a file, up to its end or to where it was cut or damaged."""
    from mcap.exceptions import McapError
    from mcap.stream_reader import StreamReader
    from zstandard import ZstdError

    with path.open("rb") as file:
        try:
            yield from StreamReader(file, validate_crcs=True).records
        except (McapError, ZstdError, EOFError, ValueError, RuntimeError, struct.error):
            return  # a cut chunk fails in the reader, in its decompressor or in its numbers


def read_messages(path: Path) -> Iterator[tuple[str, bytes]]:
    """(channel name, JSON) of every whole message, also of a cut file."""
    from mcap.records import Channel as McapChannel
    from mcap.records import Message

    topics: dict[int, str] = {}
    for record in whole_records(path):
        if isinstance(record, McapChannel):
            topics[record.id] = record.topic.removeprefix("/companion/").replace("/", ".")
        elif isinstance(record, Message):
            yield topics[record.channel_id], record.data


def read_log(path: Path, table: dict[str, Channel]) -> Arrays:
    """All records of a log as structured arrays by channel."""
    found: dict[str, list[bytes]] = {}
    for name, data in read_messages(path):
        found.setdefault(name, []).append(data)
    out: Arrays = {}
    for name, messages in found.items():
        if name not in table:
            continue
        array = np.zeros(len(messages), table[name].dtype)
        for i, data in enumerate(messages):
            decode_record(table[name], data, array[i])
        out[name] = array
    return out
