"""`companion log info|recover`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from runtime.errors import ConfigError
from runtime.log import read_messages, whole_records


def add_info(parser: argparse.ArgumentParser) -> None:
    """Options of `log info`."""
    parser.add_argument("log", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def info(args: argparse.Namespace) -> int:
    """Channels, counts, times; works on a cut file too."""
    rows = _channels(args.log)
    seconds = max((r["last_s"] for r in rows.values()), default=0.0)
    first = min((r["first_s"] for r in rows.values()), default=0.0)
    if args.json:
        print(
            json.dumps(
                {"log": str(args.log), "duration_s": round(seconds - first, 3), "channels": rows}
            )
        )
        return 0
    print(f"{args.log}: {seconds - first:.1f} s, {args.log.stat().st_size / 1e6:.1f} MB")
    for name, r in sorted(rows.items()):
        span = r["last_s"] - r["first_s"]
        rate = (r["count"] - 1) / span if span > 0 else 0.0
        print(f"  {name:20} {r['count']:7d} records, {rate:6.1f} Hz, {r['bytes'] / 1e6:6.2f} MB")
    return 0


def _channels(log: Path) -> dict[str, dict[str, Any]]:
    check_log(log)
    rows: dict[str, dict[str, Any]] = {}
    for name, data in read_messages(log):
        try:
            t_s = msgspec.json.decode(data)["t_ns"] / 1e9
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{log} is an MCAP of something else: {name} holds no record of a run; Foxglove opens it"
            ) from error
        row = rows.setdefault(name, {"count": 0, "bytes": 0, "first_s": t_s, "last_s": t_s})
        row["count"] += 1
        row["bytes"] += len(data)
        row["first_s"], row["last_s"] = min(row["first_s"], t_s), max(row["last_s"], t_s)
    if not rows:
        raise ConfigError(f"{log} holds no whole record; nothing can be read from it")
    return rows


def check_log(log: Path) -> None:
    """ConfigError unless the file is there and begins as MCAP does."""
    if not log.is_file():
        raise ConfigError(f"no log {log}; a run prints where its log is")
    with log.open("rb") as file:
        if file.read(5) != b"\x89MCAP":
            raise ConfigError(f"{log} is no MCAP file; give the .mcap that a run wrote")


def add_recover(parser: argparse.ArgumentParser) -> None:
    """Options of `log recover`."""
    parser.add_argument("log", type=Path)
    parser.add_argument(
        "--out", type=Path, default=None, help="default: NAME.recovered.mcap beside it"
    )


def recover(args: argparse.Namespace) -> int:
    """Copy every whole record of a cut log to a new, complete file."""
    check_log(args.log)
    out = args.out or args.log.with_suffix(".recovered.mcap")
    if out.exists():
        raise ConfigError(f"{out} is there already; give --out another name")
    _channels(args.log)  # refuses a log without a whole record
    work = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with work.open("wb") as target:
            count = _copy(args.log, target)
        work.replace(out)
    finally:
        work.unlink(missing_ok=True)
    print(f"{count} records in {out}")
    return 0


def _copy(log: Path, target: BinaryIO) -> int:
    """Write the whole records of `log` as a complete file; the number of messages."""
    from mcap.records import Channel, Message, Metadata, Schema
    from mcap.writer import Writer

    writer = Writer(target)
    writer.start(library="companion log recover")
    schemas: dict[int, int] = {}
    channels: dict[int, int] = {}
    count = 0
    for r in whole_records(log):
        if isinstance(r, Schema) and r.id not in schemas:
            schemas[r.id] = writer.register_schema(r.name, r.encoding, r.data)
        elif isinstance(r, Channel) and r.id not in channels:
            schema = schemas[r.schema_id]
            channels[r.id] = writer.register_channel(
                r.topic, r.message_encoding, schema, r.metadata
            )
        elif isinstance(r, Metadata):
            writer.add_metadata(r.name, r.metadata)
        elif isinstance(r, Message):
            channel = channels[r.channel_id]
            writer.add_message(channel, r.log_time, r.data, r.publish_time, r.sequence)
            count += 1
    writer.finish()
    return count
