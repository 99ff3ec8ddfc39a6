"""What can be refused before the first byte, and how an attempt to flash ended: told, and in the passport."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge import protocol
from firmware_bridge.board import Board, board_names, load_board
from firmware_bridge.errors import LinkError, LinkLost, UpdateError
from firmware_bridge.signing import ImageFile
from firmware_bridge.update import BoardInfo, SlotImage
from tools import passport
from tools.flash_trial import Say


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended: up to date, confirmed or rolled back."""

    result: str
    reason: str
    port: str
    info: BoardInfo
    before: str
    after: str
    passport: str = ""

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "result": self.result, "reason": self.reason, "port": self.port, "uid": self.info.uid,
            "hardware": self.info.hardware, "before": self.before, "after": self.after,
            "passport": self.passport,
        }  # fmt: skip


@dataclass(slots=True)
class Attempt:
    """One board and one image; `restarted` once the board was told to start it."""

    info: BoardInfo
    image: ImageFile
    before: SlotImage | None
    port: str
    operator: str
    restarted: bool = False

    def ended(self, result: str, reason: str, after: str, where: str) -> Outcome:
        """What is told of it."""
        before = self.before.version if self.before else ""
        return Outcome(result, reason, self.port, self.info, before, after, where)

    def enter(self, result: str, reason: str) -> Path:
        """Into the passport, however it ended."""
        image = self.image
        facts = {
            "version": image.version_text, "sha256": image.sha256.hex(),
            "key": image.key_hash[:8].hex(), "before": self.before.version if self.before else "",
            "reason": reason, "schema": f"{protocol.schema_crc():08x}", "port": self.port,
        }  # fmt: skip
        return passport.append(
            self.info.uid, self.info.hardware, "flash", result, facts, self.operator
        )

    def found(self) -> str:
        """An image that runs already: entered where the passport does not know of it."""
        known = passport.read_passport(self.info.uid)
        newest = known.firmware() if known else None
        if newest and newest.facts.get("sha256") == self.image.sha256.hex():
            return ""
        return str(self.enter("confirmed", "found running"))

    @contextlib.contextmanager
    def told(self, say: Say) -> Iterator[None]:
        """Refused, broken off or stopped: into the passport, then on as one sentence."""
        try:
            yield
        except (LinkLost, LinkError) as error:
            say.end()
            self.enter("broken off", str(error))
            raise
        except UpdateError as error:
            say.end()
            self.enter("refused", str(error))
            raise
        except KeyboardInterrupt:
            say.end()
            self.enter("stopped", "Ctrl-C")
            raise UpdateError(f"stopped by Ctrl-C: {self._left()}") from None

    def _left(self) -> str:
        if self.restarted:
            return (
                "the new image is on trial, and without a host the board goes back after 30 s; "
                "run it again to go on with the trial"
            )
        return "the image that runs is untouched; run it again, the upload goes on where it was"


def boards() -> list[Board]:
    """Every board there is a file of."""
    return [load_board(name) for name in board_names()]


def active(images: list[SlotImage]) -> SlotImage | None:
    """The image that runs."""
    return next((i for i in images if i.active), None)


def runs(info: BoardInfo, active: SlotImage | None) -> str:
    """What is on the board now, in words."""
    if not info.application:
        return "its loader answers, no application runs"
    return (
        f"runs {active.version} ({active.sha256[:4].hex()})" if active else "runs an unknown image"
    )


def check(
    info: BoardInfo, image: ImageFile, before: SlotImage | None, force: bool, same: bool
) -> None:
    """Everything that can be refused before the first byte; `same`: it is the image that runs."""
    if image.hardware != info.hardware:
        raise UpdateError(
            f"wrong hardware: {image.path.name} is for {image.hardware}, this board is {info.hardware}; take the image for that board"
        )
    if info.driving:
        raise UpdateError("the robot is active: its motors may move; stop it, then flash")
    if info.trial and not same:
        raise UpdateError(
            "another image is on trial; wait until it is confirmed or goes back (30 s), then flash"
        )
    size = next((b.nvm.slot_size for b in boards() if b.hardware == info.hardware), len(image.data))
    if len(image.data) > size:
        raise UpdateError(f"{image.path.name} has {len(image.data)} bytes, a slot {size}")
    if before and not force and image.version < _numbers(before.version):
        raise UpdateError(
            f"downgrade: {image.version_text} is older than {before.version}, which runs; give --force if that is meant"
        )


def _numbers(version: str) -> tuple[int, int, int, int]:
    parts = [int(p) for p in version.split(".")] + [0, 0, 0, 0]
    return parts[0], parts[1], parts[2], parts[3]
