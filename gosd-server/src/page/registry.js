// What the page knows of a registry, by the stream of its events, and what it asks of the server.

/** The service of the records that drain others. */
const DRAIN = "gosd.drain";
/** How many events are kept. */
const EVENTS = 500;
/** The server says something every 3 s; after so long without, it is taken for gone (ms). */
const SILENCE = 8_000;
/** The pauses before it is asked again: the first, and the longest (ms). */
const PAUSES = [500, 5_000];
/** What became of an instance, as the timeline says it. */
export const KINDS = {
  joined: { name: "joined", means: "It registered." },
  changed: { name: "changed", means: "It says something else of itself." },
  goodbye: { name: "said goodbye", means: "It left, or was removed." },
  died: { name: "died", means: "Its lease ran out." },
  vanished: { name: "vanished", means: "It was gone when contact was back; nobody knows how." },
  drained: { name: "drained", means: "It is left out of everybody's rotation." },
  undrained: { name: "back in rotation", means: "Its drain was ended, or is over." },
};

export const registry = {
  namespace: "gosd",
  /** By id. */
  instances: new Map(),
  /** The ids of the instances that are out of everybody's rotation. */
  drained: new Set(),
  /** What happened, the latest first. */
  timeline: [],
  /** When it was begun to be watched. */
  since: new Date(),
  /** Whether all that there is has been told once. */
  hasBegun: false,
};

/** Tells of changes (`onChange()`) and of contact (`onState(state, text, error)`). */
let listener = { onChange() {}, onState() {} };
let lastEventId = "";

/** When an instance began, by the UUIDv7 that its id ends in (ms), or NaN. */
function born(id) {
  const found = /-([0-9a-f]{12})7[0-9a-f]{3}[89ab][0-9a-f]{15}$/.exec(id);
  return found ? parseInt(found[1], 16) : NaN;
}

function prepare(instance) {
  const metadata = Object.entries(instance.metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  const pairs = metadata.map(([key, value]) => `${key}=${value}`);
  const text = [instance.service, instance.id, instance.url, ...pairs].join("\n").toLowerCase();
  const { id, service, url } = instance;
  return { id, service, url, metadata, text, born: born(id), json: JSON.stringify(instance) };
}

function tell(kind, { id, service, url, text }) {
  const all = `${text}\n${KINDS[kind].name}`.toLowerCase();
  registry.timeline.unshift({ at: new Date(), kind, id, service, url, text: all, row: null });
  registry.timeline.length = Math.min(registry.timeline.length, EVENTS);
}

const isDrain = (id) => id.startsWith(`${DRAIN}-`);
const targetOf = (id) => id.slice(DRAIN.length + 1);
const known = (id) => registry.instances.get(id) ?? { id, service: "", url: "", text: id };

function put(json) {
  const { instances, drained } = registry;
  if (isDrain(json.id)) {
    const target = targetOf(json.id);
    if (!drained.has(target)) tell("drained", known(target));
    drained.add(target);
    return;
  }
  const now = prepare(json);
  const before = instances.get(now.id);
  if (before?.json !== now.json) tell(before ? "changed" : "joined", now);
  instances.set(now.id, now);
}

function remove(id, kind) {
  const { instances, drained } = registry;
  if (isDrain(id)) {
    if (drained.delete(targetOf(id))) tell("undrained", known(targetOf(id)));
  } else if (instances.has(id)) {
    tell(kind, instances.get(id));
    instances.delete(id);
  }
}

/** Takes in all that there is. What is no longer among it is gone, and nobody knows how. */
function reset(all) {
  const { instances, drained } = registry;
  if (registry.hasBegun) {
    const ids = new Set(all.map((instance) => instance.id));
    for (const id of drained) if (!ids.has(`${DRAIN}-${id}`)) remove(`${DRAIN}-${id}`);
    for (const id of instances.keys()) if (!ids.has(id)) remove(id, "vanished");
    all.forEach(put);
    return;
  }
  registry.hasBegun = true;
  for (const instance of all) {
    if (isDrain(instance.id)) drained.add(targetOf(instance.id));
    else instances.set(instance.id, prepare(instance));
  }
}

function take(event, data) {
  if (event === "reset") reset(data.instances);
  else if (event === "put") put(data);
  else if (event === "remove") remove(data.id, "goodbye");
  else if (event === "expire") remove(data.id, "died");
  listener.onState("live", "Live");
  listener.onChange();
}

// Beside this file, wherever the server is mounted.
const path = (rest) =>
  new URL(`v1/${encodeURIComponent(registry.namespace)}/${rest}`, import.meta.url);
const sleep = (time) => new Promise((done) => setTimeout(done, time));
const clock = (date) => date.toLocaleTimeString([], { hour12: false });

function headers(more = {}) {
  const token = sessionStorage.getItem("gosd.token");
  return token ? { Authorization: `Bearer ${token}`, ...more } : more;
}

/** An answer that is an error, in the server's words. */
class Refused extends Error {
  static async by(response) {
    const problem = await response.json().catch(() => ({}));
    return new Refused(response.status, problem.detail ?? `the server answers ${response.status}`);
  }

  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The namespaces that the server has open, its own first; none if it does not say. */
export async function namespaces() {
  const options = { headers: headers(), cache: "no-store", signal: AbortSignal.timeout(5_000) };
  const response = await fetch(new URL("v1/namespaces", import.meta.url), options).catch(() => null);
  return response?.ok ? (await response.json()).namespaces : [];
}

/** Takes an instance out of everybody's rotation for a time (ms); back in, without one. */
export async function drain(target, time) {
  const id = `${DRAIN}-${target}`;
  const instance = { id, service: DRAIN, url: "gosd://drain", metadata: {} };
  const body = time ? JSON.stringify({ instance, lease_ms: time }) : undefined;
  const type = time ? { "Content-Type": "application/json" } : {};
  const response = await fetch(path(`instances/${encodeURIComponent(id)}`), {
    method: time ? "PUT" : "DELETE",
    headers: headers(type),
    body,
    signal: AbortSignal.timeout(10_000),
  });
  if (!response.ok) throw await Refused.by(response);
}

// Each call of `follow` and `stop` begins another one, and ends what goes on for the one before.
let generation = 0;
let controller = new AbortController();
let heardAt = new Date();

/** Ends the stream; what is known stays. */
export function stop() {
  generation += 1;
  controller.abort();
}

/** Follows a namespace's events until the next call, or `stop`. */
export async function follow(namespace, newListener) {
  stop();
  const mine = generation;
  listener = newListener;
  if (namespace !== registry.namespace || !registry.hasBegun) {
    Object.assign(registry, { namespace, timeline: [], since: new Date(), hasBegun: false });
    registry.instances.clear();
    registry.drained.clear();
    lastEventId = "";
    listener.onChange();
  }
  listener.onState("connecting", "Connecting");
  let pause = PAUSES[0];
  while (mine === generation) {
    controller = new AbortController();
    let wait = null;
    try {
      wait = await listen(controller, () => (pause = PAUSES[0]));
      if (mine === generation) lost("the server ended the stream");
    } catch (error) {
      if (mine !== generation) return;
      // What does not change by itself waits for the user.
      if ([401, 403, 404].includes(error.status)) return listener.onState("refused", error.message, error);
      lost(error.status ? error.message : "the server does not answer");
    }
    await sleep(wait ?? pause * (0.5 + Math.random() / 2));
    pause = Math.min(pause * 2, PAUSES[1]);
  }
}

function lost(why) {
  const since = registry.hasBegun ? ` since ${clock(heardAt)}, showing what was known then` : "";
  listener.onState("lost", `No contact${since}: ${why}`);
}

/** Reads one stream to its end; gives the pause that the server asks for (ms), or null. */
async function listen(controller, onContact) {
  const stop = () => controller.abort();
  let silence = setTimeout(stop, SILENCE);
  let [event, id, data, retry, parts] = ["", "", "", null, []];
  const line = (text) => {
    if (text.startsWith("event: ")) event = text.slice(7);
    else if (text.startsWith("id: ")) id = text.slice(4);
    else if (text.startsWith("data: ")) data = text.slice(6);
    else if (text.startsWith("retry: ")) retry = Number(text.slice(7)) || null;
    else if (text === "" && event) {
      take(event, JSON.parse(data));
      lastEventId = id;
      [event, data] = ["", ""];
      onContact();
    }
  };
  try {
    const more = lastEventId ? { "Last-Event-ID": lastEventId } : {};
    const options = { headers: headers(more), signal: controller.signal, cache: "no-store" };
    const response = await fetch(path("events"), options);
    if (!response.ok) throw await Refused.by(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || controller.signal.aborted) return retry;
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE);
      heardAt = new Date();
      // A list of all is one long line, in many chunks.
      const lines = value.split("\n");
      parts.push(lines[0]);
      for (const next of lines.slice(1)) {
        line(parts.join(""));
        parts = [next];
      }
    }
  } finally {
    clearTimeout(silence);
  }
}
