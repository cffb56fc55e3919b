// The texts of the page in both languages, and how numbers and times are written.
"use strict";

const TEXTS = {
  en: {
    title: "Lottery central",
    port: (port) => `port ${port}`,
    uptime: (time) => `up ${time}`,
    totals: "Totals",
    winners: "Winners",
    bets: "Stored bets",
    in_flight: "Agencies in flight",
    deaths: "Deaths of workers",
    repairs: "Repairs of locks",
    no_bets: "No bets yet. The numbers change as soon as an agency sends its first batch.",
    draw: "Draw",
    finished: (finished, expected) => `${finished} of ${expected} agencies have finished.`,
    waiting: (count) => `Connections that wait for it: ${count}.`,
    no_draw: "No draw: every query gets the total of its moment.",
    drawn: (finished) => `The draw has been held. Agencies that had finished: ${finished}. Bets are closed.`,
    confirm: "Bets are closed. The draw waits for: loteria-central draw --confirm",
    rate: "Rate",
    rate_unit: "bets per second",
    rate_plot: (now, most) => `Bets per second: ${now} now, at most ${most}.`,
    latency: "Time per round of batches, 99th percentile since the start",
    latency_plot: "Times of the phases; the table below has the newest.",
    phase: "Phase",
    median: "Median",
    p99: "99 %",
    phases: { commit: "Commit", sync: "Sync", publish: "Publish" },
    ago: (time) => `${time} ago`,
    now: "now",
    workers: "Workers",
    ready: (ready, all) => `${ready} of ${all} accept`,
    worker: (slot) => `Worker ${slot}`,
    fields: {
      in_flight: "In flight", connections: "Connections", batches: "Batches", bets: "Bets",
      uptime: "Up", restarts: "Restarts", death: "Last death",
    },
    never: "never",
    earlier: "earlier",
    states: {
      ready: "ready", starting: "starting", draining: "draining", retiring: "retiring",
      dead: "dead", free: "free", serving: "serving", connecting: "connecting", away: "away",
    },
    unhealthy: "A batch would not be served now",
    central_away: (since) => `The central is away since ${since}. This page shows it again when it returns. Reason:`,
    monitor_away: (since) => `The monitor does not answer since ${since}. This page tries again by itself.`,
  },
  es: {
    title: "Central de la lotería",
    port: (port) => `puerto ${port}`,
    uptime: (time) => `activa hace ${time}`,
    totals: "Totales",
    winners: "Ganadores",
    bets: "Apuestas guardadas",
    in_flight: "Agencias en curso",
    deaths: "Muertes de workers",
    repairs: "Locks reparados",
    no_bets: "Todavía no hay apuestas. Los números cambian cuando una agencia envía su primer lote.",
    draw: "Sorteo",
    finished: (finished, expected) => `Terminaron ${finished} de ${expected} agencias.`,
    waiting: (count) => `Conexiones que lo esperan: ${count}.`,
    no_draw: "Sin sorteo: cada consulta recibe el total del momento.",
    drawn: (finished) => `El sorteo se realizó. Agencias que habían terminado: ${finished}. No se aceptan más apuestas.`,
    confirm: "No se aceptan más apuestas. El sorteo espera: loteria-central draw --confirm",
    rate: "Ritmo",
    rate_unit: "apuestas por segundo",
    rate_plot: (now, most) => `Apuestas por segundo: ahora ${now}, máximo ${most}.`,
    latency: "Tiempo por ronda de lotes, percentil 99 desde el inicio",
    latency_plot: "Tiempos de las fases; los últimos están en la tabla.",
    phase: "Fase",
    median: "Mediana",
    p99: "99 %",
    phases: { commit: "Escritura", sync: "Sync", publish: "Publicación" },
    ago: (time) => `hace ${time}`,
    now: "ahora",
    workers: "Workers",
    ready: (ready, all) => `${ready} de ${all} aceptan`,
    worker: (slot) => `Worker ${slot}`,
    fields: {
      in_flight: "En curso", connections: "Conexiones", batches: "Lotes", bets: "Apuestas",
      uptime: "Activo", restarts: "Reinicios", death: "Murió",
    },
    never: "nunca",
    earlier: "antes",
    states: {
      ready: "listo", starting: "iniciando", draining: "terminando", retiring: "saliente",
      dead: "muerto", free: "libre", serving: "en servicio", connecting: "conectando",
      away: "ausente",
    },
    unhealthy: "Ahora no se atendería un lote",
    central_away: (since) => `La central no está desde las ${since}. Esta página la muestra cuando vuelva. Motivo:`,
    monitor_away: (since) => `El monitor no responde desde las ${since}. Esta página reintenta sola.`,
  },
};

let language = "en";
let text = TEXTS.en;
let numbers = new Intl.NumberFormat("en");
let compact = numbers;

// Chooses the language: the one of the last visit, else that of the browser.
function chooseLanguage(chosen) {
  language = chosen in TEXTS ? chosen : "en";
  text = TEXTS[language];
  // Spanish groups four digits only when asked to.
  numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 0, useGrouping: "always" });
  compact = new Intl.NumberFormat(language, { maximumSignificantDigits: 3, notation: "compact" });
}

function ofLastVisit() {
  // Browsers may refuse storage.
  try { return localStorage.getItem("language"); } catch { return null; }
}

function remember(chosen) {
  try { localStorage.setItem("language", chosen); } catch { /* Then it lasts until the page closes. */ }
}

// "3 s", "2 min 5 s", "4 h": at most `units` units.
function duration(seconds, units = 2) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (rest >= length) parts.push(`${Math.floor(rest / length)} ${unit}`);
    rest %= length;
  }
  return parts.slice(0, units).join(" ") || "0 s";
}

function microseconds(time) {
  if (time === null || time === undefined) return "–";
  if (time < 1000) return `${compact.format(time)} µs`;
  return time < 1e6 ? `${compact.format(time / 1000)} ms` : `${compact.format(time / 1e6)} s`;
}
