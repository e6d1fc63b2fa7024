"""The parts of the report's page that are no plots: tables, style sheet, script."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--card:#f6f7f9;--ink:#16191d;--soft:#5b6470;--line:#d9dde3;
--agent:#1d4ed8;--b0:#6b7280;--b1:#c2410c;--b2:#047857;--b3:#30363d;--b4:#a21caf;--b5:#946200;--b6:#0e7490;--b7:#be123c;
--b8:#4d7c0f;--good:#04764b;--bad:#b42318;--unsure:#8a5300}
@media (prefers-color-scheme:dark){:root:not(.paper){--paper:#111418;--card:#1a1e24;--ink:#e8eaed;--soft:#a3acb8;
--line:#343b45;--agent:#7db1ff;--b0:#9aa3af;--b1:#ff9b5e;--b2:#4fd1a5;--b3:#e3e6ea;--b4:#e58cf2;--b5:#f2c94c;--b6:#5fd3e8;
--b7:#ff8fa8;--b8:#b5d66b;--good:#5be0a8;--bad:#ff8d80;--unsure:#f5c451}}
:root.paper{color-scheme:light}*{box-sizing:border-box}
body{margin:0 auto;max-width:1200px;padding:1.2rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:clamp(1.7rem,9.4vw,4.6rem);line-height:1.05;margin:.1em 0;letter-spacing:-.02em;overflow-wrap:normal}
h2{font-size:1.35rem;margin:2.2rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:0 0 .3rem;display:flex;justify-content:space-between;gap:1rem}
.edge,.pass{color:var(--good)}.no-edge,.fail{color:var(--bad)}.inconclusive{color:var(--unsure)}.fail{font-weight:700}
.what,.note,figcaption,footer{color:var(--soft);margin:.2rem 0}.note,figcaption,footer{font-size:.86rem}
.reason{font-size:1.2rem;margin:.4rem 0}
.synthetic{border:2px dashed var(--unsure);color:var(--unsure);padding:.4rem .8rem;display:inline-block;margin:.4rem 0}
header ul{padding-left:1.2rem;margin:.6rem 0}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:1rem 0 0;font-size:.9rem}a{color:var(--agent)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;}
.numbers{min-width:100%;font-size:.82rem}
th,td{padding:.35rem .45rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
thead th{color:var(--soft);font-weight:500;white-space:normal;vertical-align:bottom;overflow-wrap:normal}
tbody th{text-align:left;font-weight:500;position:sticky;left:0;background:var(--paper)}
.words th,td.text,.pass,.fail{text-align:left}td.text{white-space:normal;min-width:4rem}
td.text:last-child{min-width:11rem}
.agent th,.agent td{font-weight:700;color:var(--agent)}small{color:var(--soft);font-weight:400}
.plot{margin:.8rem 0 1.1rem;min-width:0}.canvas{width:100%;overflow:hidden}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:0 1.4rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:0 1.6rem}
.switch{font-weight:400;font-size:.9rem;color:var(--soft);white-space:nowrap}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,240px),1fr));gap:.3rem 1.2rem;font-size:.86rem}
dl div{border-bottom:1px solid var(--line)}dt{color:var(--soft)}dd{margin:0}
summary{cursor:pointer;padding:.4rem 0;font-weight:600}
:focus-visible{outline:2px solid var(--agent);outline-offset:2px}
footer{margin-top:2rem;border-top:1px solid var(--line);padding-top:.6rem}
@media (max-width:560px){body{padding:.9rem}th,td{padding:.3rem .4rem}.words thead{display:none}
.words tr{display:block;border-bottom:1px solid var(--line);padding:.3rem 0}.words th,.words td{border:0;
padding:0 .6rem 0 0;display:inline-block}.words td.text:last-child{display:block}}
@media print{@page{size:A4;margin:14mm}body{max-width:none;padding:0;font-size:10pt}nav,.switch{display:none}
.scroll{overflow:visible}table{font-size:7.5pt}.numbers{font-size:6.3pt}
.numbers th,.numbers td{padding:.2rem .16rem}.pair{display:block}tbody th{position:static}
.plot,tr,dl div{break-inside:avoid}h2,h3{break-after:avoid}.grid{grid-template-columns:1fr 1fr}}
"""
SCRIPT = r"""
(() => {
"use strict";
const root = document.documentElement, plots = [...document.querySelectorAll(".plot")], PAPER = 680;
const isGroup = x => x && typeof x === "object" && !Array.isArray(x);
const merge = (a, b) => Object.entries(b).reduce(
  (out, [k, v]) => ({...out, [k]: isGroup(v) ? merge(out[k] || {}, v) : v}), a);
const colored = (value, css) => {  // var(--name) becomes the theme's color
  if (typeof value === "string")
    return value.replace(/^var\((--[\w-]+)\)$/, (_, name) => css.getPropertyValue(name).trim());
  if (Array.isArray(value)) return value.map(x => colored(x, css));
  return isGroup(value) ? Object.fromEntries(Object.entries(value).map(([k, x]) => [k, colored(x, css)])) : value;
};
const base = (layout, narrow) => {
  const axis = {gridcolor: "var(--line)", linecolor: "var(--line)", zeroline: false, zerolinecolor: "var(--soft)",
    automargin: true, exponentformat: "e", title: {standoff: 8, font: {size: 12}}};
  const out = {paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: {color: "var(--ink)", size: 12, family: getComputedStyle(document.body).fontFamily},
    margin: {l: 8, r: 8, t: 8, b: 8}, showlegend: true, dragmode: narrow ? false : "zoom",
    legend: {orientation: "h", x: 0, y: 1.01, yanchor: "bottom", traceorder: "reversed", font: {size: narrow ? 10 : 12},
      ...(narrow ? {entrywidthmode: "fraction", entrywidth: 0.5} : {})},
    hoverlabel: {bgcolor: "var(--card)", font: {color: "var(--ink)"}},
    xaxis: {type: "date", nticks: narrow ? 4 : 0, tickangle: 0}, yaxis: {}};
  const axes = Object.keys({...out, ...layout}).filter(name => /^[xy]axis/.test(name));
  return {...out, ...Object.fromEntries(axes.map(name => [name, merge(axis, out[name] || {})]))};
};
const draw = (plot, paper) => {  // on paper plots have a width of their own and are lower
  const canvas = plot.querySelector(".canvas"), spec = JSON.parse(plot.querySelector("script").textContent);
  const width = paper || canvas.clientWidth, height = plot.dataset.height * (paper ? 0.76 : 1);
  canvas.style.height = height + "px";
  const layout = {...merge(base(spec.layout, width < 560), spec.layout), width, height};
  if (plot.querySelector("input")?.checked) layout.yaxis.type = "log";
  const css = getComputedStyle(root);
  Plotly.react(canvas, colored(spec.data, css), colored(layout, css), {displayModeBar: false});
  plot.drawn = true;
};
const again = () => plots.filter(plot => plot.drawn).forEach(plot => draw(plot));
plots.forEach(plot => plot.querySelector("input")?.addEventListener("change", () => draw(plot)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
let wide = innerWidth, timer, closed = [];
const resized = () => { if (innerWidth !== wide) { wide = innerWidth; again(); } };
addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(resized, 150); });
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach(x => { x.open = true; });
  root.classList.add("paper");
  plots.forEach(plot => draw(plot, plot.closest(".grid") ? PAPER / 2 - 12 : PAPER));
});
addEventListener("afterprint", () => {
  closed.forEach(x => { x.open = false; });
  root.classList.remove("paper");
  again();
});
const next = k => {  // one after the other, so that the page can be scrolled meanwhile
  if (k === plots.length) { root.dataset.ready = Math.round(performance.now()); return; }
  if (!plots[k].drawn) draw(plots[k]);
  setTimeout(next, 0, k + 1);
};
requestAnimationFrame(() => setTimeout(next, 0, 0));
})();
"""


def table(heads: Iterable[str], rows: Iterable[str], note: str = "", kind: str = "") -> str:
    """A table that scrolls sideways where it is too wide."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' if text else "<td></td>" for text in heads)
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    scroll = '<div class="scroll" tabindex="0" role="region" aria-label="table">'
    return f'{scroll}<table class="{kind}">{body}</table></div>{below}'


def row(name: Any, *cells: Any, text: bool = False) -> str:
    """A row of a table: its head and its cells."""
    kind = ' class="text"' if text else ""
    rest = "".join(f"<td{kind}>{escape(str(value))}</td>" for value in cells)
    return f'<tr><th scope="row">{escape(str(name))}</th>{rest}</tr>'


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values."""
    items = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(plain(v))}</dd></div>" for k, v in values.items())
    return f"<dl>{items}</dl>" if items else ""


def plain(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, float):
        return f"{value:.8g}"
    if isinstance(value, list):
        return ", ".join(" to ".join(map(str, x)) if isinstance(x, list) else plain(x) for x in value) or "-"
    return "-" if value is None else str(value)


def number(value: Any, form: str) -> str:
    """A number or an interval as text, a dash where it is undefined."""
    if isinstance(value, list):
        return "–" if None in value else " to ".join(number(x, form) for x in value)
    return "–" if value is None else format(value, form)
