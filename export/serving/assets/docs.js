/* The page at /docs: asks for the manifest, fills in a request, sends it, shows the answer. */
const $ = id => document.getElementById(id);
const symbols = () => manifest.pool ? manifest.symbols.slice(0, 1) : manifest.symbols;
const headers = () => $("key").value ? {"X-API-Key": $("key").value} : {};
let manifest = null;
async function ask() {
  const got = await fetch("/manifest", {headers: headers()});
  if (!got.ok) { $("model").textContent = "No manifest: HTTP " + got.status + " " + await got.text(); return; }
  manifest = await got.json();
  $("model").textContent = manifest.name + " " + manifest.version + ": " + (manifest.pool ? "one of " : "") + manifest.symbols.join(", ") +
    ", bars of " + manifest.bar + (manifest.decide_every ? ", a decision every " + manifest.decide_every : "") + ", at least " + manifest.min_candles + " candles";
}
function walk() {
  const n = manifest.min_candles + 100, bar = manifest.bar_ms, end = Math.floor(Date.now() / bar) * bar;
  const c = {time: [], open: [], high: [], low: [], close: [], volume: []};
  let price = 100;
  for (let i = 0; i < n; i++) {
    const open = price, close = open * Math.exp((Math.random() - .5) * .02);
    c.time.push(end - (n - i) * bar); c.open.push(open); c.close.push(close);
    c.high.push(Math.max(open, close) * 1.002); c.low.push(Math.min(open, close) * .998);
    c.volume.push(100 + 100 * Math.random()); price = close;
  }
  return c;
}
const fills = {
  observation: () => ({observation: manifest.observation.map(() => 0), features_hash: manifest.features_hash,
                       account: {equity: 100000, positions: {}}}),
  candles: () => ({candles: Object.fromEntries(symbols().map(s => [s, walk()])),
                   account: {equity: 100000, positions: {}}}),
};
for (const button of document.querySelectorAll("[data-fill]")) button.onclick = async () => {
  if (!manifest) await ask();
  if (!manifest) return;
  const instance = fills[button.dataset.fill]();
  if (manifest.sizing.base_sizing !== "constant" || manifest.pool)
    instance.base_position = Object.fromEntries(symbols().map(s => [s, 10000]));
  $("body").value = JSON.stringify({instances: [instance]}, null, 1);
};
$("send").onclick = async () => {
  const start = performance.now();
  try {
    const got = await fetch($("send").dataset.route, {method: "POST", body: $("body").value,
                                          headers: {"Content-Type": "application/json", ...headers()}});
    const text = await got.text();
    $("status").textContent = "HTTP " + got.status + " in " + (performance.now() - start).toFixed(1) + " ms";
    $("answer").textContent = text;
    try { $("answer").textContent = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON: as it is */ }
  } catch (error) { $("status").textContent = "no connection: " + error; }
};
ask();
