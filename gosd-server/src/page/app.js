// The page for people: what registry.js knows, drawn, and what is done by hand.
//
// What it shows is other people's text: it gets into the page as text alone (textContent, append).

import { KINDS, drain, follow, namespaces, registry, stop } from "./registry.js";

/** How many rows are drawn at most. */
const ROWS = 200;
/** Two drawings are at least so far apart (ms). */
const FRAME = 100;

const { instances, drained } = registry;
let words = [];

const $ = (id) => document.getElementById(id);

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}

const clock = (date) => date.toLocaleTimeString([], { hour12: false });

function age(since) {
  const seconds = Math.max(0, Math.floor((Date.now() - since) / 1_000));
  if (Number.isNaN(seconds)) return "";
  const [minutes, hours, days] = [60, 3_600, 86_400].map((unit) => Math.floor(seconds / unit));
  if (days > 0) return `${days}d ${hours % 24}h`;
  if (hours > 0) return `${hours}h ${minutes % 60}m`;
  return minutes > 0 ? `${minutes}m ${seconds % 60}s` : `${seconds}s`;
}

/** The end of an id, which is what is random in it. */
const short = (id) => (id.length > 12 ? `…${id.slice(-8)}` : id);

function matches(text) {
  return words.every((word) =>
    word.length > 1 && word.startsWith("-") ? !text.includes(word.slice(1)) : text.includes(word),
  );
}

/** Makes these nodes the children of a parent, and moves none that is in its place. */
function place(parent, nodes, kept = 0) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children].slice(kept)) if (!wanted.has(child)) child.remove();
  let at = parent.children[kept] ?? null;
  for (const node of nodes) {
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
}

let rows = new Map();
let groups = new Map();

function newRow(id) {
  const [url, age] = [make("td", "url"), make("td", "number age")];
  const badge = make("b", "kind drained badge", "drained");
  const [short, metadata, button] = [make("button", "copy"), make("td"), make("button", "drain")];
  short.type = button.type = "button";
  short.addEventListener("click", () => copy(id, short));
  button.addEventListener("click", () => askForDrain(id));
  const tr = make("tr", "", url, make("td", "", short), age, metadata, make("td", "act", button));
  return { tr, url, badge, short, age, metadata, button, json: "" };
}

function drawRow(row, instance) {
  const isDrained = drained.has(instance.id);
  if (row.json !== instance.json) {
    row.json = instance.json;
    const isWeb = /^https?:\/\//i.test(instance.url);
    const link = make(isWeb ? "a" : "span", "", instance.url);
    if (isWeb) Object.assign(link, { href: instance.url, rel: "noreferrer", target: "_blank" });
    row.url.replaceChildren(link, row.badge);
    say(row.short, short(instance.id));
    row.short.title = `Copy ${instance.id}`;
    const pair = ([key, value]) => make("li", "", make("b", "", key), ` ${value}`);
    row.metadata.replaceChildren(make("ul", "chips", ...instance.metadata.map(pair)));
    row.age.title = Number.isNaN(instance.born) ? "" : new Date(instance.born).toLocaleString();
  }
  say(row.age, age(instance.born));
  say(row.button, isDrained ? "Undrain" : "Drain");
  row.button.setAttribute("aria-label", `${row.button.textContent} ${instance.id}`);
  row.tr.classList.toggle("drained", isDrained);
  row.badge.hidden = !isDrained;
  return row;
}

function drawServices() {
  const byService = new Map();
  let found = 0;
  for (const instance of instances.values()) {
    const extra = drained.has(instance.id) ? "\ndrained" : "";
    if (words.length > 0 && !matches(instance.text + extra)) continue;
    found += 1;
    if (!byService.has(instance.service)) byService.set(instance.service, []);
    byService.get(instance.service).push(instance);
  }
  const [newRows, newGroups] = [new Map(), new Map()];
  for (const service of [...byService.keys()].sort()) {
    const all = byService.get(service);
    if (newRows.size >= ROWS) break;
    all.sort((a, b) => (a.id < b.id ? -1 : 1));
    const group = groups.get(service) ?? newGroup(service);
    const shown = all.slice(0, ROWS - newRows.size).map((instance) => {
      const row = rows.get(instance.id) ?? newRow(instance.id);
      newRows.set(instance.id, drawRow(row, instance));
      return row.tr;
    });
    const out = all.filter((instance) => drained.has(instance.id)).length;
    say(group.count, out > 0 ? `${all.length}, ${out} drained` : `${all.length}`);
    place(group.body, shown, 1);
    newGroups.set(service, group);
  }
  [rows, groups] = [newRows, newGroups];
  place($("services"), [...groups.values()].map((group) => group.body), 1);
  drawCounts(found, byService.size);
}

function newGroup(service) {
  const [name, count] = [make("button", "name", service), make("span", "count")];
  name.type = "button";
  name.title = `Show ${service} alone`;
  name.addEventListener("click", () => setFilter(service));
  const head = make("th", "", name, count);
  head.colSpan = 5;
  head.scope = "rowgroup";
  return { body: make("tbody", "", make("tr", "service", head)), count };
}

const number = (n) => n.toLocaleString("en");
const plural = (n, what) => `${number(n)} ${what}${n === 1 ? "" : "s"}`;

function drawCounts(found, services) {
  const all = plural(instances.size, "instance");
  const shown = words.length > 0 ? `${number(found)} of ${all}` : all;
  say($("counts"), registry.hasBegun ? `${plural(services, "service")}, ${shown}` : "");
  const more = found - rows.size;
  $("more").hidden = more === 0;
  say($("more"), `${number(more)} more: filter to see them`);
  $("empty").hidden = found > 0 || !registry.hasBegun;
  $("services").hidden = found === 0;
  const nobody = `Nobody is registered in the namespace ${registry.namespace}.`;
  say($("empty"), instances.size > 0 ? "Nothing matches the filter." : nobody);
  document.title = `${$("bar").dataset.state === "live" ? "" : "(!) "}gosd: ${all}`;
}

function drawTimeline() {
  const shown = registry.timeline.filter((entry) => matches(entry.text)).slice(0, ROWS);
  for (const entry of shown) entry.row ??= newEntry(entry);
  place($("timeline"), shown.map((entry) => entry.row));
  say($("since"), `since ${clock(registry.since)}`);
  $("timeline").hidden = shown.length === 0;
  $("quiet").hidden = shown.length > 0;
  const quiet = "Nobody has come or gone since.";
  say($("quiet"), registry.timeline.length > 0 ? "Nothing in the timeline matches the filter." : quiet);
}

function newEntry({ at, kind, id, service, url }) {
  const time = make("time", "", clock(at));
  time.dateTime = at.toISOString();
  const what = make("b", `kind ${kind}`, KINDS[kind].name);
  what.title = KINDS[kind].means;
  const who = make("span", "who", service, make("code", "", short(id)), make("small", "", url));
  who.title = id;
  return make("li", "", time, what, who);
}

let drawnAt = 0;
let isDue = false;

/** Draws soon, and once for all changes until then. */
function draw() {
  if (isDue) return;
  isDue = true;
  const wait = Math.max(0, drawnAt + FRAME - performance.now());
  setTimeout(() => {
    isDue = false;
    drawServices();
    drawTimeline();
    drawnAt = performance.now();
  }, wait);
}

async function copy(text, button) {
  // Browsers have no clipboard for pages that are not secure.
  await navigator.clipboard?.writeText(text).then(
    () => button.classList.add("copied"),
    () => {},
  );
  setTimeout(() => button.classList.remove("copied"), 1_000);
}

// What is done by hand.

/** The filter and the namespace are kept in the address, so that it can be sent to others. */
function readHash() {
  const said = new URLSearchParams(location.hash.slice(1));
  $("filter").value = said.get("q") ?? "";
  $("namespace").value = said.get("ns") ?? home ?? "gosd";
  setWords();
  connect();
}

function writeHash() {
  const said = new URLSearchParams();
  if ($("filter").value.trim()) said.set("q", $("filter").value.trim());
  if (namespace() !== (home ?? "gosd")) said.set("ns", namespace());
  history.replaceState(null, "", said.size > 0 ? `#${said}` : location.pathname);
}

const namespace = () => $("namespace").value.trim() || home || "gosd";

/** The server's own namespace, once it has said which. */
let home = null;

async function askForNamespaces() {
  const names = await namespaces();
  $("namespaces").replaceChildren(...names.map((name) => Object.assign(make("option"), { value: name })));
  if (home !== null || names.length === 0) return;
  home = names[0];
  // Unless another one is asked for already.
  if (!new URLSearchParams(location.hash.slice(1)).has("ns")) $("namespace").value = home;
}

function setWords() {
  words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  draw();
}

function setFilter(text) {
  $("filter").value = text;
  setWords();
  writeHash();
}

function onState(state, text, error) {
  $("bar").dataset.state = state;
  say($("bar-text"), text);
  if (error?.status === 401) askForToken(text);
  draw();
}

/** A browser has six connections to a server: a page that nobody sees keeps none of them. */
async function connect() {
  stop();
  if (document.hidden) return;
  onState("connecting", "Connecting");
  await askForNamespaces();
  if (!document.hidden) follow(namespace(), { onChange: draw, onState });
}

function askForToken(why) {
  say($("token-why"), why);
  if (!$("token-dialog").open) $("token-dialog").showModal();
}

function useToken() {
  const token = $("token").value.trim();
  if (token) sessionStorage.setItem("gosd.token", token);
  else sessionStorage.removeItem("gosd.token");
  $("token").value = "";
  $("token-dialog").close();
  connect();
}

let draining = "";
/** What the dialog said that it does: another operator may drain or undrain meanwhile. */
let undrains = false;

function askForDrain(id) {
  draining = id;
  undrains = drained.has(id);
  const { service } = instances.get(id) ?? { service: "" };
  const isOther = (other) => other.service === service && other.id !== id && !drained.has(other.id);
  say($("drain-title"), undrains ? "Undrain" : "Drain");
  say($("drain-do"), undrains ? "Undrain" : "Drain");
  const out = "is left out of everybody's rotation, and is back in it by itself. It goes on running.";
  const what = undrains ? "is back in everybody's rotation at once." : out;
  say($("drain-what"), `This instance of ${service} ${what}`);
  say($("drain-id"), id);
  $("drain-for").hidden = undrains;
  $("drain-last").hidden = undrains || [...instances.values()].some(isOther);
  say($("drain-last"), `Nobody else is in the rotation of ${service}.`);
  $("drain-error").hidden = true;
  $("drain-dialog").showModal();
}

async function doDrain() {
  const time = undrains ? 0 : Number($("drain-time").value);
  $("drain-do").disabled = true;
  try {
    await drain(draining, time);
    $("drain-dialog").close();
  } catch (error) {
    const why = error.status ? error.message : "the server does not answer";
    const hint = [401, 403].includes(error.status) ? " The button Token takes another one." : "";
    say($("drain-error"), `Refused: ${why}.${hint}`);
    $("drain-error").hidden = false;
    $("drain-error").focus();
  } finally {
    $("drain-do").disabled = false;
  }
}

function onSubmit(dialog, act) {
  $(dialog).querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
  $(dialog).querySelector(".cancel").addEventListener("click", () => $(dialog).close());
}

onSubmit("token-dialog", useToken);
onSubmit("drain-dialog", doDrain);
$("token-button").addEventListener("click", () => askForToken("What the server asks for."));
$("filter").addEventListener("input", () => (setWords(), writeHash()));
$("namespace").addEventListener("change", () => (writeHash(), connect()));
addEventListener("hashchange", readHash);
document.addEventListener("visibilitychange", connect);
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    $("filter").select();
  } else if (event.key === "Escape" && event.target === $("filter")) {
    setFilter("");
  }
});
setInterval(() => document.hidden || draw(), 1_000);
readHash();
