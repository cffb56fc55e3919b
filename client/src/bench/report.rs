//! The report: lines for a person, or one JSON object.

use std::fmt;

use load::{Figures, Percentiles};
use serde_json::{Value, json};

use super::Bench;
use super::batch::{Batch, Size};

/// Share of one CPU above which a thread of the generator may be the limit.
const BUSY: f64 = 0.9;

/// The figures of a run, and what was measured.
pub(crate) struct Report<'b> {
    pub(super) bench: &'b Bench,
    pub(super) batch: Batch,
    pub(super) figures: Figures,
}

impl Report<'_> {
    /// Returns true if every batch was answered.
    pub(crate) fn is_clean(&self) -> bool {
        self.figures.errors.is_empty()
    }

    /// Returns what a user should know before trusting the figures.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let Figures { batches, slow_connections, generator_cpu_us_per_batch, .. } = self.figures;
        let mut warnings = Vec::new();
        if let Size::Bets(asked) = self.bench.batch
            && asked > self.batch.bets
        {
            let fit = self.batch.bets;
            warnings.push(format!("--batch {asked}: a packet has room for {fit} of these bets"));
        }
        let clients = self.bench.clients.get() as u64;
        if clients > batches {
            warnings.push(format!("{clients} clients had only {batches} answers: run longer"));
        }
        if batches < 1000 {
            warnings.push(format!("the 99.9th percentile of {batches} batches is their maximum"));
        }
        if slow_connections > 0 {
            warnings.push(format!(
                "{slow_connections} connections took over 0.9 s to open: a packet was lost \
                 (the listen queue or a connection tracking table is full)"
            ));
        }
        let threads = self.figures.generator_threads as f64;
        let busy = self.figures.batches_per_second * generator_cpu_us_per_batch / 1e6 / threads;
        if busy > BUSY {
            warnings.push(format!(
                "the load generator used {:.0} % of its CPUs and may be the limit: try --threads {}",
                busy * 100.0,
                self.figures.generator_threads + 1
            ));
        }
        warnings
    }

    fn bets_per_second(&self) -> f64 {
        self.figures.batches_per_second * f64::from(self.batch.bets)
    }

    /// Returns the use of connections.
    fn connections(&self) -> &'static str {
        if self.bench.kept { "kept" } else { "per batch" }
    }

    /// Returns the JSON object. Its keys are stable, because scripts read them.
    pub(crate) fn json(&self) -> Value {
        let Figures {
            seconds,
            batches,
            batches_per_second,
            latency_us: Percentiles { p50, p90, p99, p99_9, max },
            ref errors,
            slow_connections,
            generator_cpu_us_per_batch,
            generator_threads,
        } = self.figures;
        json!({
            "address": self.bench.address,
            "protocol": self.bench.protocol.name,
            "connections": self.connections(),
            "clients": self.bench.clients,
            "batch_bytes": self.batch.bytes,
            "bets_per_batch": self.batch.bets,
            "seconds": seconds,
            "batches": batches,
            "bets": batches * u64::from(self.batch.bets),
            "batches_per_second": batches_per_second,
            "bets_per_second": self.bets_per_second(),
            "latency_us": { "p50": p50, "p90": p90, "p99": p99, "p99_9": p99_9, "max": max },
            "errors": errors,
            "slow_connections": slow_connections,
            "generator_cpu_us_per_batch": generator_cpu_us_per_batch,
            "generator_threads": generator_threads,
            "warnings": self.warnings(),
        })
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bench, batch, figures) = (self.bench, &self.batch, &self.figures);
        let (protocol, clients) = (bench.protocol.name, bench.clients);
        let connections = if bench.kept { "kept connections" } else { "a connection per batch" };
        writeln!(f, "{protocol} at {}: {clients} clients, {connections}", bench.address)?;
        let (answered, seconds) = (figures.batches, figures.seconds);
        let each = if batch.bets == 0 {
            format!("messages of {} bytes", batch.bytes)
        } else {
            format!("batches of {} bets, {} bytes", batch.bets, batch.bytes)
        };
        writeln!(f, "answered   {answered} {each}, in {seconds:.2} s")?;
        writeln!(f, "batches/s  {:.0}", figures.batches_per_second)?;
        if batch.bets > 0 {
            writeln!(f, "bets/s     {:.0}", self.bets_per_second())?;
        }
        let Percentiles { p50, p90, p99, p99_9, max } = figures.latency_us;
        write!(f, "latency    p50 {}, p90 {}", Micros(p50), Micros(p90))?;
        writeln!(f, ", p99 {}, p99.9 {}, max {}", Micros(p99), Micros(p99_9), Micros(max))?;
        writeln!(f, "errors     {}", figures.failed())?;
        for (reason, count) in &figures.errors {
            writeln!(f, "           {count} × {reason}")?;
        }
        for warning in self.warnings() {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// Microseconds, in the unit that a person reads.
struct Micros(f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            micros if micros < 1e3 => write!(f, "{micros:.0} µs"),
            micros if micros < 1e6 => write!(f, "{:.2} ms", micros / 1e3),
            micros => write!(f, "{:.2} s", micros / 1e6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_their_unit() {
        let shown = [999.0, 1000.0, 25_340.0, 1_500_000.0].map(|time| Micros(time).to_string());
        assert_eq!(shown, ["999 µs", "1.00 ms", "25.34 ms", "1.50 s"]);
    }
}
