"""`/openapi.json`, made from the types that requests are decoded with, and `/docs`, a page without network."""

from functools import cache
from typing import Any

import msgspec

from export.serving.schemas import Request, Response

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "field", "message"],
            "properties": {name: {"type": "string"} for name in ("code", "field", "message")},
        }
    },
}
SIMPLE = {
    "/health/live": "The process runs.",
    "/health/ready": "A verified model is loaded and the server is not draining; else 503.",
    "/manifest": "Signature of the model and what made it.",
    "/metrics": "Prometheus.",
    "/v2": "Open Inference Protocol: the server.",
    "/v2/health/live": "Open Inference Protocol: the process runs.",
    "/v2/health/ready": "Open Inference Protocol: ready for requests.",
}
REFUSALS = {
    "400": "not allowed",
    "401": "key",
    "408": "too slow",
    "409": "of another model, stream, bar or feature set",
    "413": "too large",
    "415": "content-encoding",
    "503": "no model",
}


@cache
def openapi(predict_route: str) -> bytes:
    """OpenAPI 3.1 of the server."""
    (ask, tell), parts = msgspec.json.schema_components((Request, Response), ref_template="#/components/schemas/{name}")
    content = {"application/json": {"schema": ask}}
    answers: dict[str, Any] = {
        "200": {"description": "One prediction for each instance.", "content": {"application/json": {"schema": tell}}}
    }
    for status, what in REFUSALS.items():
        schema = {"schema": {"$ref": "#/components/schemas/Error"}}
        answers[status] = {"description": what, "content": {"application/json": schema}}
    paths: dict[str, Any] = {
        path: {"get": {"summary": text, "responses": {"200": {"description": "yes"}, "503": {"description": "no"}}}}
        for path, text in SIMPLE.items()
    }
    body = {"required": True, "content": content}
    paths[predict_route] = {"post": {"summary": "Position multipliers.", "requestBody": body, "responses": answers}}
    scheme = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "HIMARI JAX", "version": "1", "description": "Position multipliers of a trained policy."},
            "paths": paths,
            "components": {"schemas": {**parts, "Error": ERROR}, "securitySchemes": scheme},
            "security": [{}, {"key": []}],
        }
    )


@cache
def docs(predict_route: str) -> bytes:
    """A page on which a person can fill in a request, send it and read the answer."""
    return PAGE.replace("%PREDICT%", predict_route).encode()


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>HIMARI JAX: try a request</title>
<meta name="viewport" content="width=device-width">
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#223}
textarea{width:100%;height:16rem;font:13px/1.4 ui-monospace,monospace;box-sizing:border-box}
pre{background:#f3f4f7;padding:1rem;overflow:auto;max-height:30rem} button{font:inherit;padding:.3rem .9rem}
td,th{text-align:left;padding:.15rem 1rem .15rem 0} input{font:inherit;width:20rem}
</style></head><body>
<h1>Try a request</h1>
<p id="model">Asking for the model ...</p>
<p><label>API key, if the server has one: <input id="key" type="password" autocomplete="off"></label></p>
<p>Fill in: <button data-fill="observation">an observation of zeros</button>
<button data-fill="candles">a random walk of candles up to now</button></p>
<textarea id="body" aria-label="request" spellcheck="false">{"instances": []}</textarea>
<p><button id="send">POST %PREDICT%</button> <span id="status"></span></p>
<pre id="answer" aria-live="polite">The answer comes here.</pre>
<h2>What else there is</h2>
<table>
<tr><th>GET /manifest</th><td>signature: symbols, bar, features and their hash</td></tr>
<tr><th>GET /health/live, /health/ready</th><td>the process; a verified model, not draining</td></tr>
<tr><th>GET /metrics</th><td>Prometheus</td></tr>
<tr><th>GET <a href="/openapi.json">/openapi.json</a></th><td>every field of requests and answers</td></tr>
<tr><th>POST /v2/models/NAME/infer</th><td>Open Inference Protocol, JSON and binary</td></tr>
</table>
<script>
const $ = id => document.getElementById(id);
const headers = () => $("key").value ? {"X-API-Key": $("key").value} : {};
let manifest = null;
async function ask() {
  const got = await fetch("/manifest", {headers: headers()});
  if (!got.ok) { $("model").textContent = "No manifest: HTTP " + got.status + " " + await got.text(); return; }
  manifest = await got.json();
  $("model").textContent = manifest.name + " " + manifest.version + ": " + manifest.symbols.join(", ") +
    ", bars of " + manifest.bar + ", at least " + manifest.min_candles + " candles";
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
  candles: () => ({candles: Object.fromEntries(manifest.symbols.map(s => [s, walk()])),
                   account: {equity: 100000, positions: {}}}),
};
for (const button of document.querySelectorAll("[data-fill]")) button.onclick = async () => {
  if (!manifest) await ask();
  if (!manifest) return;
  const instance = fills[button.dataset.fill]();
  if (manifest.sizing.base_sizing !== "constant")
    instance.base_position = Object.fromEntries(manifest.symbols.map(s => [s, 10000]));
  $("body").value = JSON.stringify({instances: [instance]}, null, 1);
};
$("send").onclick = async () => {
  const start = performance.now();
  try {
    const got = await fetch("%PREDICT%", {method: "POST", body: $("body").value,
                                          headers: {"Content-Type": "application/json", ...headers()}});
    const text = await got.text();
    $("status").textContent = "HTTP " + got.status + " in " + (performance.now() - start).toFixed(1) + " ms";
    $("answer").textContent = text;
    try { $("answer").textContent = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON: as it is */ }
  } catch (error) { $("status").textContent = "no connection: " + error; }
};
ask();
</script></body></html>
"""
