"""The report of a calibration: one self-contained HTML file, for a screen or a printer."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from calibration.verdict import Verdict
from tools.report import write_whole


@dataclass(frozen=True)
class Plot:
    """A picture that answers a question: its title, what to see in it, and an SVG or <img>."""

    title: str
    see: str
    picture: str


Table = tuple[str, list[str], list[list[str]]]  # title, head, rows


@dataclass(frozen=True)
class Page:
    """What a tool adds to its verdict: a heading, plots, and tables (title, head, rows)."""

    title: str
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)  # files, in words


STYLE = """
:root{--pass:#1a7f4b;--marginal:#a86100;--fail:#c0392b}
body{font:16px/1.45 system-ui,sans-serif;color:#1b2733;max-width:62rem;margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.3rem;margin:0 0 .6rem}h2{font-size:1.05rem;margin:0 0 .2rem}
.verdict{border-left:.5rem solid;padding:.6rem 1rem;margin:0 0 1.2rem;background:#f5f7f9}
.verdict b{font-size:1.6rem}.verdict p{margin:.25rem 0}
.PASS{border-color:var(--pass)}.PASS b{color:var(--pass)}
.MARGINAL{border-color:var(--marginal)}.MARGINAL b{color:var(--marginal)}
.FAIL{border-color:var(--fail)}.FAIL b{color:var(--fail)}
section{margin:0 0 1.4rem;break-inside:avoid}section p{margin:.1rem 0 .4rem;color:#44525f}
svg,img{max-width:100%;height:auto}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(28rem,100%),1fr));gap:0 1.5rem}
table{border-collapse:collapse;font-size:.9rem;display:block;overflow-x:auto}
td,th{padding:.2rem .7rem .2rem 0;text-align:left;border-bottom:1px solid #dde3e8;vertical-align:top}
td+td{font-variant-numeric:tabular-nums}footer{font-size:.8rem;color:#5b6975;overflow-wrap:anywhere}
@media print{body{margin:0;max-width:none;font-size:12px}.verdict{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def write_page(path: Path, verdict: Verdict, page: Page) -> None:
    """Write the whole file beside its place and rename it there."""
    write_whole(path, html(verdict, page))


def html(verdict: Verdict, page: Page) -> str:
    """The page as text."""
    others = "".join(
        f"<p>also {escape(f['level'])}: {escape(f['cause'])} &rarr; {escape(f['next'])}</p>"
        for f in verdict.findings[1:]
    )
    plots = "".join(
        f"<section><h2>{escape(p.title)}</h2><p>{escape(p.see)}</p>{p.picture}</section>"
        for p in page.plots
    )
    tables = [("Result", ["what", "value"], rows(verdict.result)), *page.tables]
    tables.append(("Quality", ["what", "value"], rows(verdict.quality)))
    inputs = "".join(f"<br>{escape(i)}" for i in page.inputs)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(verdict.verdict)}: {escape(page.title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(page.title)}</h1>"
        f'<div class="verdict {verdict.verdict}"><b>{verdict.verdict}</b><p>{escape(verdict.cause)}</p>'
        f"<p><strong>Next: {escape(verdict.next)}</strong></p>{others}</div>"
        f'<div class="plots">{plots}</div>{"".join(_table(*t) for t in tables)}'
        f"<footer>inputs SHA-256 {escape(verdict.inputs_sha256)}{inputs}</footer></body></html>\n"
    )


def rows(values: dict[str, Any]) -> list[list[str]]:
    """A dict as table rows."""
    return [[key, shown(value)] for key, value in values.items()]


def shown(value: Any) -> str:
    """A value in one line, to six digits."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{k} {shown(v)}" for k, v in value.items())
    return str(value)


def _table(title: str, head: list[str], body: list[list[str]]) -> str:
    if not body:
        return ""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in r) + "</tr>" for r in body)
    return f"<section><h2>{escape(title)}</h2><table><tr>{top}</tr>{lines}</table></section>"
