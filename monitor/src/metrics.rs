//! The metrics of a central in the Prometheus text format 0.0.4.
//!
//! The values are in the shared memory of the central, so they are written from there at each
//! request instead of being registered with a client library.

use std::fmt::{Display, Write};

use central_view::{
    CentralView, DEATH_REASONS, Latency, LatencyPhase, Phase, WorkerState, not_ready,
};

/// The metrics that are being written.
#[derive(Debug, Default)]
struct Text(String);

/// Returns the metrics of a central. Without one, only `prefork_up` is known.
pub fn text(central: Option<&CentralView>) -> String {
    let mut text = Text::default();
    text.family("prefork_up", "gauge", "1 if the central runs.");
    text.sample("prefork_up", &[], u8::from(central.is_some()));
    text.family("prefork_monitor_info", "gauge", "Version of the monitor.");
    text.sample("prefork_monitor_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    if let Some(central) = central {
        lottery(&mut text, central);
        pool(&mut text, central);
        workers(&mut text, central);
        latencies(&mut text, central);
    }
    text.0
}

fn lottery(text: &mut Text, central: &CentralView) {
    text.counter(
        "lottery_bets_stored_total",
        "Published bets, with those of earlier runs.",
        central.bets.load(),
    );
    text.gauge("lottery_winners", "Winners among the published bets.", central.winners.get());
    text.gauge(
        "lottery_agencies_in_flight",
        "Batches that have begun and not ended.",
        central.agencies_in_flight(),
    );
    text.gauge(
        "lottery_agencies_finished",
        "Distinct agencies that have finished.",
        central.finished.load(),
    );
    text.gauge(
        "lottery_agencies_expected",
        "Agencies that the draw waits for.",
        central.expected.load(),
    );
    text.gauge("lottery_drawn", "1 once the draw has been held.", central.drawn.load());
    text.gauge(
        "lottery_draw_failures",
        "Attempts at the draw that failed since the start.",
        central.draw_failures.load(),
    );
}

fn pool(text: &mut Text, central: &CentralView) {
    let uptime = central.segment.created().elapsed().unwrap_or_default();
    text.gauge(
        "prefork_uptime_seconds",
        "Time since the start of the central.",
        uptime.as_secs_f64(),
    );
    text.gauge(
        "prefork_ready",
        "1 if a batch would be served now.",
        u8::from(not_ready(central).is_empty()),
    );
    text.gauge(
        "prefork_draining",
        "1 while the central stops.",
        u8::from(Phase::from_byte(central.phase.load()) == Phase::Draining),
    );
    text.gauge("prefork_workers", "Workers of the newest generation.", central.workers.load());
    text.gauge(
        "prefork_generation",
        "Newest generation of workers that has been ready.",
        central.generation.load(),
    );
    text.gauge(
        "prefork_supervisor_heartbeat_age_seconds",
        "Time since the last heartbeat of the supervisor.",
        central.supervisor_silence().as_secs_f64(),
    );
    text.gauge(
        "prefork_last_crash_timestamp_seconds",
        "Time of the last death of a worker since 1970, or 0.",
        central.last_death_ms.load() as f64 / 1000.0,
    );
    text.gauge(
        "prefork_storage_failed",
        "1 once the storage cannot be used any more.",
        u8::from(central.storage_failure().is_some()),
    );
    text.family("prefork_worker_deaths_total", "counter", "Workers that died unasked.");
    for (reason, deaths) in DEATH_REASONS.iter().zip(central.death_reasons.iter()) {
        text.sample("prefork_worker_deaths_total", &[("reason", reason)], deaths);
    }
    text.family("prefork_lock_owner_died_total", "counter", "Deaths of the owner of a lock.");
    for (lock, died) in central.lock_recoveries() {
        text.sample("prefork_lock_owner_died_total", &[("lock", lock)], died);
    }
}

fn workers(text: &mut Text, central: &CentralView) {
    let sum = |counter: &dyn Fn(usize) -> u64| (0..central.worker_batches.len()).map(counter).sum();
    let batches: u64 = sum(&|slot| central.worker_batches.load(slot));
    let queries: u64 = sum(&|slot| central.worker_queries.load(slot));
    let refused: u64 = sum(&|slot| central.worker_refused.load(slot));
    let large: u64 = sum(&|slot| central.worker_large.load(slot));
    text.counter("lottery_batches_total", "Batches stored since the start.", batches);
    text.counter("lottery_large_batches_total", "Batches stored that were large.", large);
    text.counter("lottery_queries_total", "Queries answered since the start.", queries);
    text.counter(
        "lottery_refused_total",
        "Requests refused, and connections closed before they were done.",
        refused,
    );
    let connections: u32 = central.worker_connections.iter().sum();
    text.gauge("prefork_connections", "Open connections.", connections);
    let waiting: u32 = central.worker_waiting.iter().sum();
    text.gauge("prefork_connections_waiting", "Connections that wait for the draw.", waiting);
    text.family("prefork_worker_state", "gauge", "1 for the state of the worker of a slot.");
    for slot in central.used_slots().filter(|slot| central.worker_generation.load(*slot) != 0) {
        let state = WorkerState::from_byte(central.worker_state.load(slot)).name();
        let slot = slot.to_string();
        text.sample("prefork_worker_state", &[("slot", &slot), ("state", state)], 1);
    }
    text.family(
        "prefork_worker_heartbeat_age_seconds",
        "gauge",
        "Time since the last heartbeat of the worker of a slot.",
    );
    for slot in central.used_slots().filter(|slot| central.worker_generation.load(*slot) != 0) {
        let age = central.worker_silence(slot).as_secs_f64();
        text.sample("prefork_worker_heartbeat_age_seconds", &[("slot", &slot.to_string())], age);
    }
}

fn latencies(text: &mut Text, central: &CentralView) {
    const NAME: &str = "lottery_phase_duration_seconds";
    text.family(NAME, "histogram", "Time of the phases of commits, since the start.");
    for phase in LatencyPhase::ALL {
        let latency = Latency::of(&central.worker_latency, phase);
        let name = phase.name();
        for (bound, below) in latency.buckets() {
            let labels = [("phase", name), ("le", &bound.to_string())];
            text.sample(&format!("{NAME}_bucket"), &labels, below);
        }
        let labels = [("phase", name), ("le", "+Inf")];
        text.sample(&format!("{NAME}_bucket"), &labels, latency.count());
        text.sample(&format!("{NAME}_sum"), &[("phase", name)], latency.sum_seconds());
        text.sample(&format!("{NAME}_count"), &[("phase", name)], latency.count());
    }
}

impl Text {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// Writes the two lines before the samples of a metric.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Writes a sample. No label of a central needs an escape.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
