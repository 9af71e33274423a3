"""What the HTML reports share: one self-contained page, light and dark, wide, narrow and printed."""

from collections.abc import Sequence
from html import escape
from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1f2933;--soft:#52606d;--page:#fbfbf9;--card:#fff;--line:#e3e5e0;--grid:#eceeea;
--span:#f4f3ee;--ours:#2f6f9f;--other:#b07a1e;--loss:#b9c0c6;--bad:#a3392b;--mind:#8a5f12}
@media (prefers-color-scheme:dark){:root{--ink:#e4e7eb;--soft:#9aa5b1;--page:#15191d;--card:#1b2025;--line:#323a42;
--grid:#272e35;--span:#20262c;--ours:#6fb1e0;--other:#e0ab52;--loss:#56616c;--bad:#f08a7b;--mind:#e0ab52}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:1180px;
margin:2em auto;padding:0 1em}
h1{font-size:1.5em;font-weight:600;overflow-wrap:anywhere}h2{font-size:1.15em;font-weight:600;margin:2em 0 .3em}
a{color:var(--ours);text-decoration:none}a:hover{text-decoration:underline}
nav{display:flex;flex-wrap:wrap;gap:.2em 1.4em;font-size:.9em}
p{max-width:75ch}.note{color:var(--soft);font-size:.9em}.miss{color:var(--bad)}.mind{color:var(--mind)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9em;margin:.6em 0}
th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
.wrap{display:inline-block;white-space:normal;min-width:20em;max-width:40em;overflow-wrap:anywhere}
th{font-weight:500;color:var(--soft);vertical-align:bottom}
th:first-child,td:first-child{padding-left:0}.text,th:first-child,td:first-child{text-align:left}
svg{width:100%;min-width:620px;height:auto;background:var(--card);border:1px solid var(--line)}
svg text{font-size:11px;fill:var(--soft)}
.grid{stroke:var(--grid)}.ours{fill:none;stroke:var(--ours);stroke-width:1.3}
.other{fill:none;stroke:var(--other);stroke-width:1.3}.loss{fill:none;stroke:var(--loss);stroke-width:.7}
.breach{fill:var(--bad)}.span{fill:var(--span)}
@media screen{th:first-child,td:first-child{position:sticky;left:0;background:var(--page)}}
@page{size:landscape;margin:10mm}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--page:#fff;--card:#fff;--line:#bbb;--bad:#8a1c10;
--mind:#7a520c}nav{display:none}body{margin:0;max-width:none;padding:0;font-size:10px}h2,tr,svg{break-inside:avoid}
h2,.note{break-after:avoid}.scroll{overflow:visible}th,td{padding:.2em .5em}}
"""


def page(title: str, body: str) -> str:
    """The whole page; the body is HTML."""
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table of HTML cells that scrolls where the screen is narrow; so many columns from the left are words."""
    kinds = [" class='text'" if 0 < column < words else "" for column in range(len(heads))]
    head = "".join(f"<th{kind} scope='col'>{cell}</th>" for kind, cell in zip(kinds, heads, strict=True))
    lines = (zip(kinds, row, strict=True) for row in rows)
    body = "".join("<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in line) + "</tr>" for line in lines)
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
