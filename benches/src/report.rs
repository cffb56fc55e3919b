//! A Markdown table that compares servers measured in alternating rounds.

use std::fmt;
use std::io;

use crate::outcome::Outcome;

/// The runs of all servers, and the baselines that they are compared with.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    servers: Vec<Server<'a>>,
    /// Indices in `servers`.
    baselines: Vec<usize>,
}

/// A server and its runs in the order of the rounds.
#[derive(Debug)]
struct Server<'a> {
    name: &'a str,
    runs: Vec<&'a Outcome>,
}

impl<'a> Report<'a> {
    /// Groups runs by name, in the order in which the names first appear. Fails if a name in
    /// `against` has no runs.
    pub(crate) fn new(outcomes: &'a [Outcome], against: &[String]) -> io::Result<Self> {
        let mut servers: Vec<Server<'a>> = Vec::new();
        for outcome in outcomes {
            match servers.iter_mut().find(|server| server.name == outcome.name) {
                Some(server) => server.runs.push(outcome),
                None => servers.push(Server { name: &outcome.name, runs: vec![outcome] }),
            }
        }
        let position = |name: &String| {
            let found = servers.iter().position(|server| server.name == name);
            found.ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("no runs of {name:?}"))
            })
        };
        let baselines = against.iter().map(position).collect::<io::Result<_>>()?;
        Ok(Self { servers, baselines })
    }

    fn write_header(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns: Vec<String> =
            ["server", "batches/s", "bets/s", "p50 µs", "p99 µs", "CPU µs/bet"]
                .map(String::from)
                .into();
        for &baseline in &self.baselines {
            let name = self.servers[baseline].name;
            columns.push(format!("speed ÷ {name}"));
            columns.push(format!("CPU of {name} ÷ own"));
        }
        writeln!(f, "| {} |", columns.join(" | "))?;
        writeln!(f, "|---|{}", "---:|".repeat(columns.len() - 1))
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_header(f)?;
        for server in &self.servers {
            let mut cells = vec![
                server.name.to_owned(),
                server.summary(|run| Some(run.batches_per_second)).show(0),
                server.summary(|run| Some(run.bets_per_second)).show(0),
                server.summary(|run| Some(run.latency_us.p50)).show(0),
                server.summary(|run| Some(run.latency_us.p99)).show(0),
                server.summary(|run| run.server_cpu_us_per_bet).show(3),
            ];
            for &baseline in &self.baselines {
                let baseline = &self.servers[baseline];
                cells.push(server.against(baseline, speed_ratio).show(2));
                cells.push(server.against(baseline, cpu_ratio).show(2));
            }
            writeln!(f, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

fn speed_ratio(own: &Outcome, baseline: &Outcome) -> Option<f64> {
    Some(own.batches_per_second / baseline.batches_per_second)
}

fn cpu_ratio(own: &Outcome, baseline: &Outcome) -> Option<f64> {
    Some(baseline.server_cpu_us_per_bet? / own.server_cpu_us_per_bet?)
}

impl Server<'_> {
    fn summary(&self, figure: impl Fn(&Outcome) -> Option<f64>) -> Summary {
        Summary::of(self.runs.iter().copied().filter_map(figure))
    }

    /// Summarizes the ratios within each round, so that a slow phase of the machine affects both
    /// sides of a ratio.
    fn against(
        &self,
        baseline: &Self,
        ratio: impl Fn(&Outcome, &Outcome) -> Option<f64>,
    ) -> Summary {
        let rounds = self.runs.iter().zip(&baseline.runs);
        Summary::of(rounds.filter_map(|(own, other)| ratio(own, other)))
    }
}

/// Median and extremes of one figure over the rounds; `None` if no round has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary(Option<Spread>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Summary {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else { return Self(None) };
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self(Some(Spread { min, median, max }))
    }

    fn show(self, decimals: usize) -> String {
        match self.0 {
            Some(Spread { min, median, max }) => {
                format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
            }
            None => "–".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latencies::Percentiles;

    fn run(name: &str, batches_per_second: f64, cpu: Option<f64>) -> Outcome {
        Outcome {
            name: name.to_owned(),
            clients: 4,
            stalled: 0,
            seconds: 1.0,
            batch_bytes: 8192,
            batches: 0,
            bets: 0,
            batches_per_second,
            bets_per_second: batches_per_second * 10.0,
            latency_us: Percentiles { p50: 100.0, p99: 200.0, max: 300.0 },
            server_cpu_us_per_bet: cpu,
        }
    }

    #[test]
    fn a_row_shows_medians_spreads_and_ratios_within_rounds() {
        let runs = [
            run("bare", 100.0, Some(1.0)),
            run("ours", 50.0, Some(2.0)),
            run("bare", 200.0, Some(1.0)),
            run("ours", 150.0, Some(4.0)),
        ];
        let table = Report::new(&runs, &["bare".to_owned()]).unwrap().to_string();
        let ours = table.lines().last().unwrap();
        let expected = "| ours | 100 (50–150) | 1000 (500–1500) | 100 (100–100) | 200 (200–200) \
                        | 3.000 (2.000–4.000) | 0.62 (0.50–0.75) | 0.38 (0.25–0.50) |";
        assert_eq!(ours, expected);
    }

    #[test]
    fn a_figure_that_no_round_has_is_shown_as_a_dash() {
        let runs = [run("ours", 50.0, None)];
        let table = Report::new(&runs, &[]).unwrap().to_string();
        assert!(table.lines().last().unwrap().ends_with("| – |"), "{table}");
    }

    #[test]
    fn a_baseline_without_runs_is_an_error() {
        assert!(Report::new(&[], &["bare".to_owned()]).is_err());
    }

    #[test]
    fn the_median_of_an_odd_number_of_rounds_is_the_middle_one() {
        let spread = Spread { min: 1.0, median: 2.0, max: 9.0 };
        assert_eq!(Summary::of([9.0, 1.0, 2.0].into_iter()), Summary(Some(spread)));
    }
}
