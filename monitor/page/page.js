// Shows the status that the monitor sends each second, and keeps that of the last minutes.

const KEPT_SECONDS = 300;
// Time without an event after which the monitor counts as away; it sends one per second.
const SILENCE = 5000;
const RETRY = 2000;
// How long a worker's box shows that its predecessor has died.
const RECENT_DEATH = 15;
const SHADES = {
  ready: "good", serving: "good", starting: "warn", draining: "warn", retiring: "warn", dead: "bad",
  away: "bad",
};

const find = (id) => document.getElementById(id);
let source = null;
let heard = Date.now();
let status = null;
// Why nothing new arrives: null, or { key, since, reason }.
let away = null;
// { time, bets, rate, latency } per second; a rate of null is a gap.
let samples = [];
// Restarts and time of the last death of each slot, as far as this page has seen them.
let deaths = new Map();

function connect() {
  source?.close();
  source = new EventSource("events");
  source.addEventListener("status", ({ data }) => received(JSON.parse(data)));
  source.addEventListener("away", ({ data }) => {
    heard = Date.now();
    absent("central_away", data);
  });
  source.addEventListener("error", () => {
    absent("monitor_away", "");
    // Browsers retry, but some give up when the connection is refused.
    source.close();
    setTimeout(connect, RETRY);
  });
}

function received(next) {
  heard = Date.now();
  away = null;
  const now = performance.now() / 1000;
  const isOther = status?.supervisor_pid !== next.supervisor_pid;
  if (isOther) deaths = new Map();
  const last = samples.at(-1);
  const stored = last && !isOther ? next.bets - last.bets : -1;
  const rate = stored < 0 || now - last.time > SILENCE / 1000 ? null : stored / Math.max(now - last.time, 0.2);
  samples.push({ time: now, bets: next.bets, rate, latency: next.latency ?? [] });
  samples = samples.filter(({ time }) => now - time <= KEPT_SECONDS);
  next.workers.forEach((worker) => noteDeath(worker, next.generation));
  status = next;
  show();
}

// The status counts restarts and not times. A worker starts right after the death of its
// predecessor, unless a reload has started it.
function noteDeath({ slot, restarts, uptime_seconds, state }, generation) {
  const seen = deaths.get(slot);
  if (seen?.restarts === restarts && seen.state !== "dead" && state !== "dead") return;
  let at = seen?.at ?? null;
  if (state === "dead") at = seen?.state === "dead" ? at : Date.now();
  else if (seen && seen.restarts !== restarts) at = Date.now() - uptime_seconds * 1000;
  else if (!seen && restarts > 0 && generation <= 1) at = Date.now() - uptime_seconds * 1000;
  deaths.set(slot, { restarts, state, at });
}

function absent(key, reason) {
  if (away?.key !== key) away = { key, since: new Date() };
  away.reason = reason;
  show();
}

function show() {
  showConnection();
  if (status === null) return;
  find("port").textContent = text.port(status.port);
  find("uptime").textContent = text.uptime(duration(status.uptime_seconds));
  for (const key of ["winners", "bets", "agencies_in_flight", "worker_deaths", "lock_recoveries"]) {
    find(key).textContent = numbers.format(status[key]);
  }
  find("no-bets").hidden = status.bets > 0;
  showHealth();
  showDraw();
  showRate();
  showLatency();
  showWorkers();
}

function showConnection() {
  const state = away ? "away" : status?.phase ?? "connecting";
  const phase = find("phase");
  // A screen reader announces every change of this element, so it changes only when it must.
  if (phase.textContent !== text.states[state]) phase.textContent = text.states[state];
  phase.className = `badge ${SHADES[state] ?? ""}`;
  const notice = find("away");
  const since = away?.since.toLocaleTimeString(language);
  const words = away ? `${text[away.key](since)} ${away.reason}`.trim() : "";
  if (notice.textContent !== words) notice.textContent = words;
  notice.hidden = !away;
  find("live").hidden = status === null;
  find("live").classList.toggle("old", away !== null);
  document.title = status ? `${text.states[state]} · ${text.title} ${status.port}` : text.title;
}

function showHealth() {
  const list = find("unhealthy");
  list.hidden = away !== null || status.unhealthy.length === 0;
  list.querySelector("ul").replaceChildren(...status.unhealthy.map((reason) => element("li", reason)));
}

function showDraw() {
  const { agencies_finished: finished, agencies_expected: expected, drawn } = status;
  const bar = find("draw");
  bar.hidden = expected === 0 && !drawn;
  bar.max = Math.max(expected, 1);
  bar.value = drawn ? bar.max : Math.min(finished, bar.max);
  let note = expected === 0 ? text.no_draw : text.finished(finished, expected);
  if (status.waiting > 0) note += ` ${text.waiting(status.waiting)}`;
  if (status.awaits_confirmation) note = text.confirm;
  if (drawn) note = text.drawn(finished);
  find("draw-note").textContent = note;
}

// The shortest span that shows everything kept.
function span(now) {
  const age = now - samples[0].time;
  return [60, 120].find((seconds) => age <= seconds) ?? KEPT_SECONDS;
}

function showRate() {
  const now = samples.at(-1).time;
  const points = samples.map(({ time, rate }) => ({ age: now - time, value: rate }));
  const most = Math.max(0, ...points.map(({ value }) => value ?? 0));
  const newest = numbers.format(points.at(-1).value ?? 0);
  find("rate").textContent = newest;
  const label = text.rate_plot(newest, numbers.format(most));
  const scale = linear(most);
  plot(find("rate-plot"), [{ points, name: "rate", filled: true }], scale, span(now), label, (tick) => compact.format(tick));
}

function showLatency() {
  // A central on an engine has only zeros.
  const isKnown = status.latency?.some(({ count }) => count > 0);
  const phases = isKnown ? status.latency : [];
  const wasHidden = find("latency").hidden;
  find("latency").hidden = phases.length === 0;
  if (wasHidden && phases.length > 0) showRate();
  const now = samples.at(-1).time;
  const lines = phases.map(({ phase }, index) => ({
    name: `phase-${index}`,
    points: samples.map(({ time, latency }) => ({
      age: now - time,
      value: latency.find((other) => other.phase === phase)?.p99_us ?? null,
    })),
  }));
  const values = lines.flatMap(({ points }) => points.map(({ value }) => value)).filter((value) => value !== null);
  const scale = values.length > 0 ? logarithmic(Math.min(...values), Math.max(...values)) : logarithmic(10, 1000);
  plot(find("latency-plot"), lines, scale, span(now), text.latency_plot, microseconds);
  const rows = phases.map(({ phase, p50_us, p99_us }, index) => {
    const row = document.createElement("tr");
    const key = svg("svg", { class: `key phase-${index}`, viewBox: "0 0 28 8", "aria-hidden": "true" });
    key.append(svg("path", { d: "M0,4L28,4" }));
    const head = element("th", text.phases[phase] ?? phase);
    head.scope = "row";
    head.prepend(key);
    row.append(head, element("td", microseconds(p50_us)), element("td", microseconds(p99_us)));
    return row;
  });
  find("latency").querySelector("tbody").replaceChildren(...rows);
}

function showWorkers() {
  const used = status.workers.filter(({ state }) => state !== "free");
  const ready = used.filter(({ state }) => state === "ready").length;
  find("ready").textContent = `· ${text.ready(ready, used.length)}`;
  const list = find("workers");
  // Boxes are changed in place, so that readers and selections keep their position.
  const slots = used.map(({ slot }) => String(slot)).join();
  if (list.dataset.slots !== slots) list.replaceChildren(...used.map(({ slot }) => workerBox(slot)));
  list.dataset.slots = slots;
  used.forEach((worker, index) => fillBox(list.children[index], worker));
}

function workerBox(slot) {
  const box = element("li", "", "worker");
  box.dataset.slot = slot;
  const top = element("div", "", "top");
  top.append(element("h3", ""), element("span", "", "badge state"));
  const list = document.createElement("dl");
  for (const key of Object.keys(text.fields)) list.append(element("dt", ""), element("dd", "", key));
  box.append(top, element("p", "", "pid"), list);
  return box;
}

function fillBox(box, worker) {
  const { at } = deaths.get(worker.slot) ?? { at: null };
  const since = at === null ? Infinity : (Date.now() - at) / 1000;
  const unseen = worker.restarts > 0 ? text.earlier : text.never;
  const values = {
    in_flight: numbers.format(worker.in_flight),
    connections: numbers.format(worker.connections),
    batches: numbers.format(worker.batches),
    bets: numbers.format(worker.bets),
    uptime: duration(worker.uptime_seconds),
    restarts: numbers.format(worker.restarts),
    death: at === null ? unseen : text.ago(duration(since, 1)),
  };
  box.classList.toggle("died", worker.state === "dead" || since < RECENT_DEATH);
  box.querySelector("h3").textContent = text.worker(worker.slot);
  box.querySelector(".pid").textContent = `pid ${worker.pid}`;
  const state = box.querySelector(".state");
  state.textContent = text.states[worker.state] ?? worker.state;
  state.className = `badge state ${SHADES[worker.state] ?? ""}`;
  for (const [key, value] of Object.entries(values)) {
    const shown = box.querySelector(`dd.${key}`);
    shown.textContent = value;
    shown.previousSibling.textContent = text.fields[key];
  }
}

function element(name, content, className = "") {
  const made = document.createElement(name);
  made.textContent = content;
  made.className = className;
  return made;
}

function setLanguage(chosen) {
  chooseLanguage(chosen);
  document.documentElement.lang = language;
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = text[each.dataset.text];
  for (const button of document.querySelectorAll(".switch button")) {
    button.setAttribute("aria-pressed", String(button.value === language));
    button.onclick = () => { remember(button.value); setLanguage(button.value); };
  }
  show();
}

setLanguage(ofLastVisit() ?? navigator.language.slice(0, 2));
connect();
new ResizeObserver(() => { if (status) { showRate(); showLatency(); } }).observe(document.body);
setInterval(() => {
  if (Date.now() - heard > SILENCE) absent("monitor_away", "");
}, 1000);
