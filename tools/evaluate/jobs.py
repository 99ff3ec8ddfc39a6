"""All jobs of an evaluation, run in a pool and kept as they come, so that it can be resumed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from runtime.errors import RuntimeFault
from tools.evaluate.episodes import DURATION_S, Episode, run_episode
from tools.evaluate.surprise import EVENT_S, EVENTS, run_event
from tools.played import code_sha
from tools.train.pool import Pool

PARTS = ("follow", "skills", "ablation", "surprise", "quiet", "planning")
FRESH_SEED = 12_000_000  # no training draws an episode from here on, and nothing was tuned on one
QUIET_SEED = 2_000_000  # of no training, and of no other part
EVENT_SHARE = 0.3  # of the seeds: episodes per kind of event
PLANNED = (1, 8, 32, 128)
ROW = {"part", "event", "seed", "skill", "scenario", "kind", "foresight"}  # of every row
OTHERS = ("approach", "look_at", "search", "go_to")


@dataclass(frozen=True)
class Job:
    """One episode of one part; `event` is set for surprise alone.

    `code` and `manifest` are hashes of what plays it: a worker that finds others has been started
    since somebody changed them.
    """

    part: str
    episode: Episode
    event: str = ""
    code: str = ""
    manifest: str = ""

    @property
    def key(self) -> str:
        """What makes it the same job."""
        fields = {k: v for k, v in asdict(self.episode).items() if k != "bundle"}
        return json.dumps([self.part, self.event, fields], sort_keys=True)

    @property
    def virtual_s(self) -> float:
        """How long it lasts on the twin's clock [s]."""
        if self.event:
            return EVENT_S
        return self.episode.duration_s or DURATION_S[self.episode.skill]


def jobs_of(bundle: str, seeds: range, parts: tuple[str, ...]) -> list[Job]:
    """Seed by seed, so that an interruption leaves whole seeds."""
    events = max(1, round(EVENT_SHARE * len(seeds)))
    jobs = []
    for i, seed in enumerate(seeds):
        if "follow" in parts:
            for scenario in ("easy", "hard"):
                jobs.append(Job("follow", Episode(bundle, seed, scenario=scenario, context=True)))
                jobs.append(Job("expert", Episode(bundle, seed, scenario=scenario, kind="expert")))
        if "skills" in parts:
            jobs += [Job("skills", Episode(bundle, seed, skill)) for skill in OTHERS]
        if "ablation" in parts and i < max(20, events):
            jobs.append(Job("ablation", Episode(bundle, seed, kind="blackout")))
        if "surprise" in parts and i < events:
            jobs += [Job("surprise", Episode(bundle, seed), event) for event in EVENTS]
        if "planning" in parts:
            jobs += [
                Job("planning", Episode(bundle, seed, scenario="clutter", foresight=n))
                for n in PLANNED
            ]
    if "quiet" in parts:
        jobs += [
            Job("quiet", Episode(bundle, QUIET_SEED + i, scenario="default", duration_s=180.0))
            for i in range(20 if len(seeds) >= 20 else max(1, len(seeds)))
        ]
    return jobs


def manifest_sha(bundle: Path) -> str:
    """SHA-256 of a bundle's manifest, which names the hashes of all the rest; empty if there is none."""
    try:
        return hashlib.sha256((bundle / "manifest.toml").read_bytes()).hexdigest()
    except OSError:  # another one is taking its place
        return ""


def pinned(jobs: list[Job], bundle: Path) -> list[Job]:
    """The same jobs, of today's code and of this bundle as it is."""
    code, manifest = code_sha(), manifest_sha(bundle)
    return [replace(job, code=code, manifest=manifest) for job in jobs]


def run_job(job: Job) -> dict[str, Any]:
    """Run one; its row.

    Raises:
        RuntimeFault: code or bundle were changed since it was asked for.
    """
    now = {"code": code_sha(), "bundle": manifest_sha(Path(job.episode.bundle))}
    changed = [k for k, asked in (("code", job.code), ("bundle", job.manifest)) if asked and now[k] != asked]  # fmt: skip
    if changed:
        raise RuntimeFault(
            f"the {' and the '.join(changed)} changed while it was measured; rows so far are kept "
            "with what they are of: run the same command again to measure what is there now"
        )
    found = run_event(job.episode, job.event) if job.event else run_episode(job.episode)
    return {"key": job.key, "part": job.part, "event": job.event, **_short(job.episode), **found}


def _short(episode: Episode) -> dict[str, Any]:
    return {
        "seed": episode.seed,
        "skill": episode.skill,
        "scenario": episode.scenario,
        "kind": episode.kind,
        "foresight": episode.foresight,
    }


def run_all(
    jobs: list[Job], folder: Path, pool: Pool, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Rows of all jobs; those already in `folder` are not run again.

    An interruption (KeyboardInterrupt) returns what was measured: every row is on disk by then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    rows = read_rows(file)
    wanted = {job.key for job in jobs}
    missing = [job for job in jobs if job.key not in rows]
    if len(missing) < len(jobs):
        say(f"{len(jobs) - len(missing)} of {len(jobs)} episodes are there from before")
    began, told = time.monotonic(), 0.0
    lasts = {job.key: job.virtual_s for job in missing}  # an hour of following is few episodes
    whole_s = sum(lasts.values())
    try:
        with file.open("a") as stream:
            if file.stat().st_size:
                stream.write("\n")  # a line that was cut short stays one line
            for done, row in enumerate(pool.run(run_job, [(job,) for job in missing]), 1):
                rows[row["key"]] = row
                lasts.pop(row["key"], None)
                stream.write(json.dumps(row, separators=(",", ":")) + "\n")
                stream.flush()
                passed = time.monotonic() - began
                if passed - told > 10 or done == len(missing):
                    told = passed
                    ahead_s = sum(lasts.values())
                    left = passed / (whole_s - ahead_s) * ahead_s / 60
                    say(f"{done} of {len(missing)} episodes, {left:.0f} min left")
    except KeyboardInterrupt:
        say(f"interrupted: the same command goes on from here ({file})")
    return [row for key, row in rows.items() if key in wanted]


def read_rows(file: Path) -> dict[str, dict[str, Any]]:
    """Rows by key; what is no row is left out: a line cut short by a full disk or a kill, or edited."""
    rows: dict[str, dict[str, Any]] = {}
    if not file.is_file():
        return rows
    for line in file.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("key"), str) and row.keys() >= ROW:
            rows[row["key"]] = row
    return rows
