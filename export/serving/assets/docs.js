/* The page at /docs: asks for the manifest, fills in requests, sends them, keeps what was sent. */
const $ = id => document.getElementById(id);
const element = (kind, text, more = {}) => Object.assign(document.createElement(kind), {textContent: text, ...more});
const headers = () => $("key").value ? {"X-API-Key": $("key").value} : {};
const symbols = () => manifest.pool ? manifest.symbols.slice(0, 1) : manifest.symbols;
const CONSTANT = ["constant", "constant-on-cap"];
let manifest = null, token = null, sent = [];

async function meet() {
  const got = await fetch("/manifest", {headers: headers()});
  if (!got.ok) {
    $("model").textContent = got.status === 401 ? "This server asks for a key." : "No manifest: HTTP " + got.status + " " + await got.text();
    return;
  }
  manifest = await got.json();
  $("model").textContent = manifest.name + " " + manifest.version + ": " + (manifest.pool ? "one of " : "") + manifest.symbols.join(", ") +
    ", bars of " + manifest.bar + (manifest.decide_every ? ", a decision every " + manifest.decide_every : "") +
    ", at least " + manifest.min_candles + " candles";
  for (const part of document.querySelectorAll(".recurrent")) part.hidden = !manifest.carry_shapes.length;
}

function walk() {
  const n = manifest.min_candles + 20, bar = manifest.bar_ms, end = Math.floor(Date.now() / bar) * bar;
  const c = {time: [], open: [], high: [], low: [], close: [], volume: []};
  const round = x => +x.toPrecision(7);
  let price = 100;
  for (let i = 0; i < n; i++) {
    const open = price, close = round(open * Math.exp((Math.random() - .5) * .02));
    c.time.push(end - (n - i) * bar); c.open.push(open); c.close.push(close);
    c.high.push(round(Math.max(open, close) * 1.002)); c.low.push(round(Math.min(open, close) * .998));
    c.volume.push(round(100 + 100 * Math.random())); price = close;
  }
  return c;
}

const account = () => ({equity: 100000, positions: {}});
const zeros = () => manifest.observation.map(() => 0);
const seen = () => ({observation: zeros(), features_hash: manifest.features_hash, account: account()});
function sized(instance) {
  const known = CONSTANT.includes(manifest.sizing.base_sizing) || (instance.candles && manifest.sizing.base_sizing === "vol-target");
  if (!known || (manifest.pool && !instance.candles))
    instance.base_position = Object.fromEntries(symbols().map(s => [s, 10000]));
  return instance;
}
const examples = {
  candles: () => sized({candles: Object.fromEntries(symbols().map(s => [s, walk()])), account: account()}),
  observation: () => sized(seen()),
  token: () => sized({...seen(), carry: token}),
  history: () => sized({...seen(), history: [zeros(), zeros()]}),
};

for (const button of document.querySelectorAll("[data-example]")) button.onclick = async () => {
  if (!manifest) await meet();
  if (!manifest) return;
  const name = button.dataset.example;
  if (name === "token" && !token) await send({instances: [examples.observation()]}, "an observation, for a token");
  await send({instances: [examples[name]()]}, button.textContent);
};

async function send(request, what) {
  const body = request === null ? $("body").value : JSON.stringify(request, null, 1).replace(/\n\s+(?=-?[\d.]+(e-?\d+)?,?\n)|\n\s+(?=\](,?)\n\s+")/g, " ");
  $("body").value = body;
  const start = performance.now(), at = new Date();
  let status = 0, text = "";
  try {
    const got = await fetch($("send").dataset.route, {method: "POST", body, headers: {"Content-Type": "application/json", ...headers()}});
    [status, text] = [got.status, await got.text()];
  } catch (error) { text = "no connection: " + error; }
  show({at, what, body, status, text, ms: performance.now() - start});
}

function show(one) {
  let answer = null;
  try { answer = JSON.parse(one.text); } catch { /* no JSON: as it is */ }
  $("answer").textContent = answer ? JSON.stringify(answer, null, 2) : one.text;
  $("status").textContent = one.status ? "HTTP " + one.status + " in " + one.ms.toFixed(1) + " ms" : "no answer";
  $("status").className = one.status === 200 ? "good" : "bad";
  const predictions = answer?.predictions ?? [];
  if (predictions[0]?.carry) {
    token = predictions[0].carry;
    $("token").textContent = token;
  }
  one.multipliers = predictions.flatMap(p => Object.entries(p.symbols).map(([s, x]) => s + " " + x.multiplier.toFixed(3))).join(", ") ||
    (answer?.error ? answer.error.field + ": " + answer.error.message : "");
  sent = [one, ...sent.filter(x => x !== one)].slice(0, 20);
  $("sent").tBodies[0].replaceChildren(...sent.map(row));
}

function row(one) {
  const again = element("button", "show", {onclick: () => { $("body").value = one.body; show(one); }});
  const cells = [one.at.toLocaleTimeString(), one.what, one.status || "none", one.ms.toFixed(1), one.multipliers];
  const line = element("tr", "");
  line.append(...cells.map((text, i) => element("td", text, {className: i === 3 ? "number" : i === 2 ? (one.status === 200 ? "good" : "bad") : ""})));
  line.append(element("td", ""));
  line.lastChild.append(again);
  return line;
}

$("send").onclick = () => send(null, "as written above");
$("key").onchange = meet;
$("keys").onsubmit = event => { event.preventDefault(); meet(); };

/* The tables of fields, out of the description that programs read. */
function fields(parts, name, path = "") {
  const part = parts[name];
  return Object.entries(part.properties).flatMap(([key, schema]) => {
    const place = path + key, inner = [schema, schema.items, schema.additionalProperties].find(x => x?.$ref);
    const one = x => x.type === "array" ? "list" : x.$ref ? "object" : x.type, kind = schema.anyOf ? schema.anyOf.map(one).join(" or ") : one(schema);
    const below = inner ? fields(parts, inner.$ref.split("/").pop(), place + (schema.type === "array" ? "[]." : schema.type === "object" ? ".SYMBOL." : ".")) : [];
    const needed = part.required?.includes(key) ? "required" : "optional";
    return [[place, kind + ", " + needed, schema.description ?? parts[schema.anyOf?.[0].$ref?.split("/").pop()]?.description ?? ""], ...below];
  });
}
const fill = (id, lines) => $(id).tBodies[0].replaceChildren(...lines.map(cells => {
  const line = element("tr", "");
  line.append(...cells.map((text, i) => element("td", i ? text : "")));
  line.firstChild.append(element("code", cells[0]));
  return line;
}));
async function explain() {
  const told = await (await fetch("/openapi.json")).json(), parts = told.components.schemas;
  fill("asked", fields(parts, "Request"));
  fill("told", fields(parts, "Response"));
  fill("paths", Object.entries(told.paths).map(([path, item]) => {
    const method = item.post ? "post" : "get";
    return [method.toUpperCase() + " " + path, (item[method].security ?? told.security).length ? "key, if the server has one" : "no key", item[method].summary];
  }));
}
Promise.all([meet(), explain()]).finally(() => { document.documentElement.dataset.ready = "yes"; });
