"""`companion model geometry`: regions, gains and growth of a bundle's networks, and their worth."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import find_bundle, load_bundle
from models.observations import load_episodes
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.arguments import count, seconds, whole
from tools.compose import DEFAULT_BUNDLE

STEPS = 500
STARTS = 12
SEGMENTS = 40
POINTS, FEW_POINTS = 32, 8  # along a way; the few, where every moment has one
ABOUT = """
What is measured, on the torch networks read out of the bundle's files
  rarity   how seldom the pattern of the posterior net's hidden units was in training (the `rarity`
           that observe.onnx gives), on episodes and on the same moments spoilt: noise, shuffled
           pixels, a part of another room pasted in, a black frame, random IMU.
  regions  units that switch along straight ways between observations (Montufar et al. 2014), per
           unit of length (1 = one pixel's channel from 0 to 1, or one normalised sense by 1).
           A lower bound: a unit that switches twice between two of 32 points (8, where a way is a
           warning) is not seen.
  gain     largest singular value of the soft dynamics' Jacobian over 1, 5 and 12 steps (expected
           instead of drawn samples): how much the worst small change of a belief grows.
  growth   500 steps of sampled rollouts under random and the policy's actions: largest |h|, the
           farthest that a person is said to be, and how far two rollouts get apart that start
           0.001 apart with the same noise.
  worth    rank correlation (Spearman) of each of these at a moment, as a warning, with the errors
           of the next belief, the next frame and the people's places now, and with the errors
           10 frames ahead; beside plain baselines: divergence, the last frame's error, the action.
           Moments of one episode are alike, so intervals resample whole episodes (of a dozen or
           more: of three they say little); a star: its interval leaves out 0.

What it is NOT: a small gain says that the model will not blow up, not that it is right. Measured
  before (facts of the prototype): 12-step gain against person error .01, against image error .20.

JSON keys
  bundle, version, episodes, frames, moments, complete (false: ended by Ctrl-C), seconds
  rarity{data{p50,p90,max}, off{kind{p50,p90,max,auroc}}}
  regions{consecutive|random|off_data{per_unit{p50,p90,max}, crossings{..}, length{..}}}
  gain{"1"|"5"|"12"{p50,p90,max}}
  growth{random|policy{h_max, person_max_m, apart_end_p50, apart_max}}
  worth{warning{error: rho}}, worth_ci95{warning{error: [low, high]}}    warnings: rarity, crossings, gain_1, gain_5, gain_12, growth,
    divergence, image_error, action; errors: belief_next, image_next, person_now, image_10, person_10
  A figure that was not measured is absent.

Exit codes: 0 all measured, 1 ended early (what was measured is printed and drawn), 2 wrong use.
"""
# stages and about how long each takes, as shares: for the time left
SHARES = {"episodes": 30.0, "beliefs": 10.0, "rarity": 5.0, "regions": 18.0, "gain": 22.0, "growth": 10.0, "worth": 20.0}  # fmt: skip

PICTURES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `model geometry`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = ABOUT
    add = parser.add_argument
    add("--bundle", default=DEFAULT_BUNDLE, help="an fp32 bundle: name or directory")
    add("--episodes", type=count, default=12, metavar="N", help="episodes on the twin")
    add("--duration", type=seconds, default=20.0, metavar="S", help="length of each [s]")
    add("--recorded", type=Path, default=None, metavar="DIR", help="episodes of a training (.npz) instead of the twin")  # fmt: skip
    add("--moments", type=count, default=240, metavar="N", help="moments that gains and worth are measured at")  # fmt: skip
    add("--out", type=Path, default=None, metavar="FILE.png", help="draw six panels (needs matplotlib: pip install '.[plot]')")  # fmt: skip
    add("--seed", type=whole(0, 2**31 - 1), default=0)
    add("--json", action="store_true", help="print one JSON object")


class Left:
    """Says which stage runs and how long all of them still take."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._began = say, time.monotonic()
        self._done = 0.0

    def part(self, stage: str, done: float) -> None:
        """`done` of the stage, 0..1."""
        before = list(SHARES)[: list(SHARES).index(stage)]
        self._done = (sum(SHARES[s] for s in before) + SHARES[stage] * done) / sum(SHARES.values())
        took = self.seconds
        left = f", {took / self._done * (1 - self._done):.0f} s left" if self._done > 0.02 else ""
        self._say(f"{stage} {done:.0%}{left}")

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began


@dataclass
class Measured:
    """Figures for JSON and, beside them, the arrays that the picture draws."""

    found: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    warnings: dict[str, Any] = field(default_factory=dict)  # (N,) at the moments


def main(args: argparse.Namespace) -> int:
    """Measure; Ctrl-C leaves what was measured."""
    if args.out and find_spec("matplotlib") is None:
        raise ConfigError(
            "--out draws with matplotlib, which is not installed; pip install '.[plot]'"
        )
    if args.out and not args.out.resolve().parent.is_dir():
        raise ConfigError(f"--out {args.out}: there is no folder {args.out.parent}")
    if args.out and (args.out.suffix not in PICTURES or args.out.is_dir()):
        raise ConfigError(f"--out {args.out}: give a file that ends in {', '.join(PICTURES)}")
    bundle = load_bundle(find_bundle(args.bundle), load_body("companion").layout())
    if bundle.manifest.precision != "fp32":
        raise ConfigError(f"{bundle.path} is {bundle.manifest.precision}; give the fp32 bundle it was made of")  # fmt: skip
    m = Measured({"bundle": bundle.manifest.name, "version": bundle.manifest.version})
    left = Left(lambda text: print(f"geometry: {text}", file=sys.stderr, flush=True))
    m.found["complete"] = True
    try:
        for stage, done in stages(m, args, bundle):
            left.part(stage, done)
    except KeyboardInterrupt:
        m.found["complete"] = False
        print("geometry: ended by Ctrl-C; what was measured follows", file=sys.stderr)
    m.found["seconds"] = round(left.seconds, 1)
    print(json.dumps(m.found) if args.json else table(m.found))
    if args.out:
        from tools.geometry_picture import draw

        draw(m, args.out)
    return 0 if m.found["complete"] else 1


def stages(m: Measured, args: argparse.Namespace, bundle: Any) -> Iterator[tuple[str, float]]:
    """Measure stage by stage into `m`; yields how much of which stage is done."""
    import torch

    from models import moments as mo
    from models.since import Senses
    from models.weights import read_networks

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    yield "episodes", 0.0
    world, policy, on_rate = read_networks(bundle)
    episodes = []
    for episode in _episodes(args, bundle):
        episodes.append(episode)
        yield "episodes", len(episodes) / args.episodes
    f = mo.Filtered(world, episodes)
    e, t = f.moments(args.moments, args.seed)
    m.found |= {"episodes": f.count, "frames": f.count * f.length, "moments": len(e)}
    yield "beliefs", 1.0
    _rarity(m, f, on_rate, e, t)
    yield "rarity", 1.0
    for done in _regions(m, f, e, t):
        yield "regions", done
    for done in _gain(m, f, e, t):
        yield "gain", done
    _growth(m, f, policy, args.seed)
    yield "growth", 1.0
    for done in _worth(m, f, e, t, Senses.of(load_body("companion").layout())):
        yield "worth", done


def _episodes(args: argparse.Namespace, bundle: Any) -> Iterator[Any]:
    if args.recorded:
        yield from load_episodes(args.recorded, args.episodes, bundle.manifest)
        return
    from tools.observe import record

    yield from record(str(bundle.path), args.episodes, args.duration)


def _rarity(m: Measured, f: Any, on_rate: Any, e: Any, t: Any) -> None:
    from models import geometry as geo
    from models import moments as mo

    data = geo.rarity(f.hidden[e, t], on_rate).numpy()
    h = f.belief[e, t, : f.world.s.deter]
    m.warnings["rarity"], m.arrays["rarity"] = data, {"data": data}
    off = {}
    for kind, points in mo.off_data(f, e, t).items():
        values = geo.rarity(geo.hidden_of(f.world, h, points), on_rate).numpy()
        m.arrays["rarity"][kind] = values
        off[kind] = mo.quantiles(values) | {"auroc": geo.auroc(data, values)}
    m.found["rarity"] = {"data": mo.quantiles(data), "off": off}


def _regions(m: Measured, f: Any, e: Any, t: Any) -> Iterator[float]:
    import torch

    from models import geometry as geo
    from models import moments as mo

    here, before = f.points(e, t), f.points(e, t - 1)
    off = list(mo.off_data(f, e, t).values())
    mixed = torch.stack([off[i % len(off)][i] for i in range(len(here))])
    ways = {"consecutive": before, "random": here.roll(1, 0), "off_data": mixed}
    m.found["regions"], m.arrays["regions"] = {}, {}
    for done, (name, other) in enumerate(ways.items(), 1):

        def counted_along(many: int, points: int, other: Any = other) -> Any:
            rows = []
            for i in range(min(many, len(here))):
                patterns = geo.pattern_of(f.world, f.belief[e[i], t[i], : f.world.s.deter][None])
                switched = geo.crossings(patterns, other[i], here[i], points)
                rows.append((switched, float((other[i] - here[i]).norm())))
            counted, length = np.array(rows, float).T
            return counted, length, counted / np.maximum(length, 1e-6)

        if name == "consecutive":
            m.warnings["crossings"] = counted_along(len(here), FEW_POINTS)[2]
        counted, length, per_unit = counted_along(SEGMENTS, POINTS)
        m.arrays["regions"][name] = per_unit
        m.found["regions"][name] = {
            "per_unit": mo.quantiles(per_unit),
            "crossings": mo.quantiles(counted),
            "length": mo.quantiles(length),
        }
        yield done / len(ways)


def _gain(m: Measured, f: Any, e: Any, t: Any) -> Iterator[float]:
    from models import geometry as geo
    from models import moments as mo

    m.found["gain"], m.arrays["gain"] = {}, {}
    for i, steps in enumerate(mo.GAINS, 1):
        step = geo.soft_steps(f.world, f.actions(e, t, steps))
        values = geo.gain(step, f.belief[e, t, : f.world.s.core]).numpy()
        m.found["gain"][str(steps)] = mo.quantiles(values)
        m.arrays["gain"][steps] = m.warnings[f"gain_{steps}"] = values
        yield i / len(mo.GAINS)


def _growth(m: Measured, f: Any, policy: Any, seed: int) -> None:
    from models import geometry as geo

    e, t = f.moments(STARTS, seed + 1)
    starts = f.belief[e, t]
    drives = {
        "random": geo.random_drive(f.world.s.action, STARTS, seed),
        "policy": geo.policy_drive(f.world, policy, 1),
    }
    m.found["growth"], m.arrays["growth"] = {}, {}
    for name, drive in drives.items():
        g = geo.grow(f.world, starts, drive, STEPS, seed)
        m.arrays["growth"][name] = g
        m.found["growth"][name] = {
            "h_max": float(g.h.max()),
            "person_max_m": float(g.person_m.max()),
            "apart_end_p50": float(np.median(g.apart[-1])),
            "apart_max": float(g.apart.max()),
        }


def _worth(m: Measured, f: Any, e: Any, t: Any, senses: Any) -> Iterator[float]:
    from models import geometry as geo
    from models import moments as mo

    actions = f.actions(e, t, 12)
    driven = geo.grow(
        f.world, f.belief[e, t], lambda _b, k: actions[:, k].repeat(2, 1), actions.shape[1], 3
    )
    m.warnings["growth"] = driven.apart[-1] / geo.APART
    yield 0.3
    m.warnings |= {k: v.numpy() for k, v in mo.plain_warnings(f, e, t, senses).items()}
    yield 0.6
    wrong = {k: v.double().numpy() for k, v in mo.errors(f, e, t, senses).items()}
    m.found["worth"], m.found["worth_ci95"] = {}, {}
    for done, (name, values) in enumerate(m.warnings.items(), 1):
        warning = np.asarray(values, float)
        row = {k: geo.spearman(warning, v) for k, v in wrong.items()}
        m.found["worth"][name] = {k: v for k, v in row.items() if np.isfinite(v)}
        m.found["worth_ci95"][name] = {
            k: geo.spearman_ci95(warning, wrong[k], e.numpy()) for k in m.found["worth"][name]
        }
        yield 0.6 + 0.4 * done / len(m.warnings)
    yield 1.0


def table(found: dict[str, Any]) -> str:
    """The figures for people, each with what it says."""
    lines = [f"{found['bundle']} {found['version']}: {found.get('episodes', 0)} episodes, {found.get('moments', 0)} moments"]  # fmt: skip
    if "rarity" in found:
        off = ", ".join(f"{k} {v['auroc']:.2f}" for k, v in found["rarity"]["off"].items())
        lines.append(f"rarity: {found['rarity']['data']['p50']:.3f} nats on episodes; told apart from spoilt ones (AUROC): {off}")  # fmt: skip
    for name, r in found.get("regions", {}).items():
        lines.append(f"regions, {name.replace('_', ' ')}: {r['per_unit']['p50']:.1f} units switch per unit of length (90 %: {r['per_unit']['p90']:.1f})")  # fmt: skip
    for steps, g in found.get("gain", {}).items():
        lines.append(f"gain over {steps} steps: {g['p50']:.2f} (90 %: {g['p90']:.2f}, largest {g['max']:.2f})")  # fmt: skip
    for name, g in found.get("growth", {}).items():
        lines.append(f"growth, {name} actions, {STEPS} steps: |h| up to {g['h_max']:.3f}, people up to {g['person_max_m']:.2f} m away, {g['apart_end_p50']:.2g} apart from 0.001")  # fmt: skip
    return "\n".join(lines + _worth_lines(found.get("worth", {}), found.get("worth_ci95", {})))


def starred(interval: tuple[float, float]) -> str:
    """A star for a correlation whose interval leaves out 0."""
    low, high = interval
    return "*" if low > 0 or high < 0 else ""


def _worth_lines(
    worth: dict[str, dict[str, float]], intervals: dict[str, dict[str, tuple[float, float]]]
) -> list[str]:
    if not worth:
        return []
    errors = list(dict.fromkeys(k for row in worth.values() for k in row))
    lines = ["worth as a warning: rank correlation with errors", f"{'':12}" + "".join(f"{k:>12} " for k in errors)]  # fmt: skip
    for name, row in worth.items():
        stars = {k: starred(interval) for k, interval in intervals[name].items()}
        cells = "".join(
            f"{row[k]:>12.2f}{stars[k]:1}" if k in row else f"{'-':>12} " for k in errors
        )
        lines.append(f"{name:12}{cells}")
    lines.append("(without a star: may be chance, its 95 % interval over episodes holds 0)")
    lines.append(
        "A small gain is a certificate that beliefs do not blow up; it is NOT a forecast of how accurate they are."
    )
    return lines
