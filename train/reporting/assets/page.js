// Draws the plots of the report, in the theme of the page.
(() => {
"use strict";
const root = document.documentElement, plots = [...document.querySelectorAll(".plot")], PAPER = 680;
const isGroup = x => x && typeof x === "object" && !Array.isArray(x) && !ArrayBuffer.isView(x);
const LETTERS = new Uint8Array(127);  // place of a character in the alphabet of packing.py
for (let code = 33, place = 0; code < 127; code++) if (!"&<>".includes(String.fromCharCode(code))) LETTERS[code] = place++;
const unpack = script => {  // two characters are 13 bits of a gzip file
  const text = script.textContent, bytes = new Uint8Array(+script.dataset.bytes);
  for (let i = 0, at = 0, held = 0, bits = 0; at < bytes.length; i += 2) {
    held = held << 13 | LETTERS[text.charCodeAt(i)] * 91 + LETTERS[text.charCodeAt(i + 1)];
    for (bits += 13; bits >= 8 && at < bytes.length; bits -= 8) bytes[at++] = held >> bits - 8;
    held &= (1 << bits) - 1;
  }
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};
const expanded = value => {  // curves come as whole steps from point to point
  if (Array.isArray(value)) return value.map(expanded);
  if (!isGroup(value)) return value;
  if (!value.steps) return Object.fromEntries(Object.entries(value).map(([k, x]) => [k, expanded(x)]));
  let sum = 0;
  return Float64Array.from(value.steps, step => step === null ? NaN : value.start + value.unit * (sum += step));
};
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
  const canvas = plot.querySelector(".canvas"), spec = plot.spec;
  const width = paper || canvas.clientWidth, height = plot.dataset.height * (paper ? 0.76 : 1);
  canvas.style.height = height + "px";
  const layout = {...merge(base(spec.layout, width < 560), spec.layout), width, height};
  if (plot.querySelector("input")?.checked) layout.yaxis.type = "log";
  const css = getComputedStyle(root);
  Plotly.react(canvas, colored(spec.data, css), colored(layout, css), {displayModeBar: false});
  plot.drawn = true;
};
const again = () => plots.filter(plot => plot.drawn).forEach(plot => draw(plot));
plots.forEach(plot => plot.querySelector("input")?.addEventListener("change", () => { if (plot.drawn) draw(plot); }));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
let wide = innerWidth, timer, closed = [];
const resized = () => { if (innerWidth !== wide) { wide = innerWidth; again(); } };
addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(resized, 150); });
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach(x => { x.open = true; });
  root.classList.add("paper");
  plots.filter(plot => plot.spec && window.Plotly).forEach(plot => draw(plot, plot.closest(".grid") ? PAPER / 2 - 12 : PAPER));
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
const start = async () => {  // the library is packed in the page as well: nothing is fetched
  if (!window.DecompressionStream)
    throw new Error("this browser has no DecompressionStream: Chrome 80, Firefox 113, Safari 16.4 or later do");
  for (const plot of plots) plot.spec = expanded(JSON.parse(await unpack(plot.querySelector("script"))));
  const library = document.createElement("script");
  library.textContent = await unpack(document.querySelector("#library script"));
  document.head.append(library);
  requestAnimationFrame(() => setTimeout(next, 0, 0));
};
start().catch(error => {
  const trouble = document.getElementById("trouble");
  trouble.textContent = `The plots cannot be drawn: ${error.message}. Words and tables are complete.`;
  trouble.hidden = false;
  root.dataset.ready = "failed";
});
})();
