"""A board's label to print, 62 x 29 mm: what somebody with the board in hand wants to know, and a code to scan."""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.passport import Passport

WIDTH_MM, HEIGHT_MM = 62, 29  # a common roll of label printers
STYLE = """
@page{size:62mm 29mm;margin:0}
body{margin:0;font:2.3mm/1.3 sans-serif}
.label{box-sizing:border-box;width:62mm;height:29mm;padding:1.5mm;display:flex;gap:1.5mm;align-items:center;overflow:hidden}
.label svg{width:24mm;height:24mm;flex:none}
.text{flex:1;min-width:0}
.text div{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.text .board{font:700 2.9mm/1.15 sans-serif;white-space:normal;overflow-wrap:anywhere;max-height:6.8mm;margin-bottom:.4mm}
.text .uid{font:600 2.1mm/1.25 monospace;white-space:normal;word-break:break-all;max-height:5.3mm;margin-bottom:.6mm}
b{font-size:2.6mm}
.bad{background:#000;color:#fff;padding:0 .6mm;-webkit-print-color-adjust:exact;print-color-adjust:exact}
.note{display:none}
@media screen{body{padding:4mm}.label{outline:.2mm dashed #999}.note{display:block;font-size:3.5mm;padding-top:3mm;color:#555;white-space:nowrap}}
"""


def label(passport: Passport) -> str:
    """Who the board is, what runs on it since when, and whether its bring-up passed."""
    flashed, bringup = passport.firmware(), passport.newest("bringup")
    firmware, when, who = "none yet", "", ""
    if flashed:
        facts = flashed.facts
        firmware = (
            f"{facts.get('version', '?')}</b> {html.escape(str(facts.get('sha256', ''))[:8])}"
        )
        word = "flashed" if flashed.result == "confirmed" else flashed.result
        when, who = f"{word} {flashed.date[:10]}", f"by {flashed.operator}"
    passed = "not done"
    if bringup:
        shown = html.escape(bringup.result)
        mark = f"<b>{shown}</b>" if bringup.result == "PASS" else f"<b class=bad>{shown}</b>"
        passed = f"{mark} {bringup.date[:10]}"
    lines = (
        ("board", html.escape(passport.hardware)),
        ("uid", html.escape(passport.uid)),
        ("", f"firmware <b>{firmware}" if flashed else f"firmware <b>{firmware}</b>"),
        ("", html.escape(when)),
        ("", html.escape(who)),
        ("", f"bring-up {passed}"),
    )
    text = "".join(f'<div class="{kind}">{line}</div>' for kind, line in lines if line)
    return (
        "<!doctype html><meta charset=utf-8><title>Companion board label</title>"
        f"<style>{STYLE}</style>\n<div class=label>{_code(passport)}<div class=text>{text}</div></div>\n"
        f"<div class=note>Print at 100 %, on a label of {WIDTH_MM} x {HEIGHT_MM} mm.</div>\n"
    )


def _code(passport: Passport) -> str:
    """Board and uid as a QR code, where the library for it is there; it fills the space the style gives it."""
    try:
        import segno
    except ImportError:
        return ""
    out = io.BytesIO()
    segno.make(f"companion:{passport.hardware}:{passport.uid}", error="m", micro=False).save(
        out, kind="svg", xmldecl=False, svgns=True, nl=False, border=2, omitsize=True
    )
    return out.getvalue().decode()
