"""The page of a latency calibration: signals laid on each other, costs, jitter, stamps."""

from __future__ import annotations

import numpy as np

from calibration.latency import Delay
from calibration.latency_judge import SAID, Chain
from tools.calibrate.figures import BAD, DATA, FAINT, GOOD, figure, svg
from tools.calibrate.latency_log import LatencyLog
from tools.calibrate.page import Page, Plot, Table

COLOURS = {"command_to_encoder": DATA, "encoder_to_gyro": "#e08a1e", "gyro_to_image": GOOD}
SHOWN_S = 6.0
SEE = {
    "command_to_encoder": "Both lines on each other. Small steps below, where the wheels turn back, are friction.",
    "encoder_to_gyro": "Both lines on each other, only noise below. A beat below: a wheel slips.",
    "gyro_to_image": "Both lines on each other, only noise below. Spikes below: something moved in the picture.",
}


def page(chain: Chain, log: LatencyLog, inputs: list[str]) -> Page:
    """Plots and the table of delays."""
    plots = [_overlaid(name, found) for name, found in chain.delays.items()]
    if chain.delays:
        plots += [_curves(chain), _histogram(chain)]
    if chain.stamps is not None:
        plots.append(_stamps(log))
    return Page(f"Latency {log.serial}".strip(), plots, [_table(chain)], inputs)


def _table(chain: Chain) -> Table:
    rows = []
    for name, d in chain.delays.items():
        effect, cause = SAID[name]
        values = (d.delay_s, 1.96 * d.std_s, d.jitter_s, d.halves_apart_s)
        rows.append([f"{effect} after {cause}", *(f"{v * 1e3:.2f}" for v in values), f"{d.correlation:.4f}"])  # fmt: skip
    head = ["what", "delay [ms]", "± (95 %)", "jitter p95 [ms]", "halves apart [ms]", "alike"]
    return "Delays along the chain", head, rows


def _overlaid(name: str, d: Delay) -> Plot:
    """The liveliest seconds, the cause moved by the delay."""
    effect, cause = SAID[name]
    t, a, b = d.compared
    drawn, (top, low) = figure(6.4, 3.6, nrows=2, sharex=True, height_ratios=(3, 1))
    last = float(t[-1]) - 1.0
    part = (t > last - SHOWN_S) & (t < last)
    top.plot(t[part], b[part], color=FAINT, lw=2.4, label=f"{cause}, {d.delay_s * 1e3:.1f} ms later")  # fmt: skip
    top.plot(t[part], a[part], color=COLOURS[name], lw=1.0, label=effect)
    top.legend(fontsize=7, loc="upper right")
    top.set_ylabel("rad/s")
    low.plot(t[part], (a - b)[part], color=BAD, lw=0.7)
    low.set(xlabel="time [s]", ylabel="apart")
    return Plot(f"{effect.capitalize()} after {cause}: {d.delay_s * 1e3:.1f} ± {1.96 * d.std_s * 1e3:.1f} ms", SEE[name], svg(drawn))  # fmt: skip


def _curves(chain: Chain) -> Plot:
    drawn, axis = figure(6.4, 3.2)
    for name, d in chain.delays.items():
        effect, cause = SAID[name]
        at, left = d.curve
        axis.plot(at * 1e3, left / left.max(), color=COLOURS[name], label=f"{effect} after {cause}")
        axis.axvline(d.delay_s * 1e3, color=COLOURS[name], lw=0.8, ls="--")
    axis.set(xlabel="delay [ms]", ylabel="what is left, by the worst", ylim=(0, None))
    axis.legend(fontsize=7)
    return Plot("Is there one best delay?", "One sharp valley each, at the dashed line. Flat: it turned too little.", svg(drawn))  # fmt: skip


def _histogram(chain: Chain) -> Plot:
    drawn, axis = figure(6.4, 3.2)
    spread = max(3e-3, *(float(np.percentile(np.abs(d.blocks_s - d.delay_s), 95)) for d in chain.delays.values() if len(d.blocks_s)), 0.0)  # fmt: skip
    edges = np.linspace(-2 * spread, 2 * spread, 33) * 1e3
    for name, d in chain.delays.items():
        effect, cause = SAID[name]
        off = np.clip((d.blocks_s - d.delay_s) * 1e3, edges[0], edges[-1])
        axis.hist(off, edges, color=COLOURS[name], alpha=0.55, label=f"{effect} after {cause}")
    axis.set(xlabel="delay of one second less that of all [ms]", ylabel="seconds")
    axis.legend(fontsize=7)
    return Plot("Is the delay steady?", "Narrow heaps about 0. A wide one: the delay wanders or jitters; outliers are stacked at the edges.", svg(drawn))  # fmt: skip


def _stamps(log: LatencyLog) -> Plot:
    drawn, axis = figure(6.4, 2.8)
    stamp = (log.frame_ns - log.frame_ns[0]) / 1e6
    step = float(np.median(np.diff(stamp)))
    number = np.concatenate([[0], np.cumsum(np.maximum(np.rint(np.diff(stamp) / step), 1))])
    off = stamp - np.polyval(np.polyfit(number, stamp, 1), number)
    age = (log.frame_arrival_ns - log.frame_ns) / 1e6
    axis.plot(stamp / 1e3, off, ".", ms=3, color=DATA, label="stamp off the frame clock")
    axis.plot(stamp / 1e3, age, ".", ms=3, color=FAINT, label="arrival after the stamp")
    axis.set(xlabel="time [s]", ylabel="ms")
    axis.legend(fontsize=7)
    return Plot("Do the stamps come from the shutter?", "Blue on one line at 0, grey well above it. Blue scattered, or grey at 0: the stamps are arrival times.", svg(drawn))  # fmt: skip
