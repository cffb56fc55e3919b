//! The plots, as SVG. They name no font of the system, so the same results give the same bytes.

mod dots;
mod lines;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use self::dots::{Dot, Panel};
use self::lines::{Curve, Curves};
use crate::results::{Results, Sample};
use crate::rows::Row;

/// A plot: the name of its file and its content.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) name: &'static str,
    pub(crate) svg: String,
}

/// Colours that people with colour blindness can distinguish too (Okabe and Ito).
const GREY: RGBColor = RGBColor(110, 110, 110);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const SKY: RGBColor = RGBColor(86, 180, 233);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const RED: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PINK: RGBColor = RGBColor(204, 121, 167);

/// A row of a plot: its identifier, its label and its colour.
type Entry = (&'static str, &'static str, RGBColor);

/// Rows of the plot of rates and CPU time, by heading.
const SERVERS: [(&str, &[Entry]); 2] = [
    (
        "a connection per batch",
        &[
            ("bare/typed/per-batch/64/8kB", "bare C", GREY),
            ("bare-more/typed/per-batch/64/8kB", "bare C, MSG_MORE", GREY),
            ("process/typed/per-batch/64/8kB", "ours, typed, process", BLUE),
            ("disk/typed/per-batch/64/8kB", "ours, typed, disk", SKY),
            ("redis-xadd/typed/per-batch/64/8kB", "Redis XADD, disk", RED),
        ],
    ),
    (
        "kept connections",
        &[
            ("bare/sentinel/kept/64/8kB", "bare C", GREY),
            ("process/sentinel/kept/64/8kB", "ours, sentinel, process", BLUE),
            ("disk/sentinel/kept/64/8kB", "ours, sentinel, disk", SKY),
            ("redis-xadd/typed/kept/64/8kB", "Redis XADD, disk", RED),
            ("redis-lua/typed/kept/64/8kB", "Redis Lua, disk", ORANGE),
            ("postgres-copy/typed/kept/64/8kB", "PostgreSQL COPY, disk", GREEN),
            ("postgres-insert/typed/kept/64/8kB", "PostgreSQL INSERT, disk", PINK),
        ],
    ),
];

/// Rows of the plot of latencies.
const LATENCIES: [Entry; 6] = [
    ("bare/typed/per-batch/64/8kB", "bare C, per batch", GREY),
    ("process/typed/per-batch/64/8kB", "ours, typed, process, per batch", BLUE),
    ("disk/typed/per-batch/64/8kB", "ours, typed, disk, per batch", SKY),
    ("disk/sentinel/kept/64/8kB", "ours, sentinel, disk, kept", GREEN),
    ("redis-xadd/typed/kept/64/8kB", "Redis XADD, disk, kept", RED),
    ("redis-xadd/typed/per-batch/64/8kB", "Redis XADD, disk, per batch", ORANGE),
];

/// Curves of the plot over the number of connections: server, dialect, kept.
const CONNECTIONS: [(&str, &str, &str, &str, RGBColor); 3] = [
    ("bare", "typed", "per-batch", "bare C, a connection per batch", GREY),
    ("process", "typed", "per-batch", "ours, typed, process, a connection per batch", BLUE),
    ("process", "sentinel", "kept", "ours, sentinel, process, kept connections", GREEN),
];

/// Returns all plots of the results.
pub(crate) fn all(results: &Results) -> Result<Vec<Plot>> {
    Ok(vec![
        Plot { name: "servers.svg", svg: servers(results)? },
        Plot { name: "latency.svg", svg: latency(results)? },
        Plot { name: "connections.svg", svg: connections(results)? },
        Plot { name: "stored.svg", svg: stored(results)? },
    ])
}

/// Makes an error of the drawing library one that can cross threads.
fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

fn servers(results: &Results) -> Result<String> {
    let rate = |sample: &Sample| sample.figures.batches_per_second / 1000.0;
    let panel = |title, figure: &dyn Fn(&Sample) -> f64, decimals| {
        let groups = SERVERS.map(|(heading, rows)| {
            let dot = |&(id, label, color): &Entry| Dot {
                label,
                color,
                spread: results.summary(id, figure).0,
            };
            (heading, rows.iter().map(dot).collect())
        });
        Panel { title, decimals, groups: groups.into() }
    };
    let panels = [
        panel("thousand batches per second (more is better)", &rate, 1),
        panel(
            "server CPU time per batch, µs (less is better)",
            &|sample| sample.server_cpu_us_per_batch,
            0,
        ),
    ];
    dots::draw("64 clients, 8 kB", &panels)
}

fn latency(results: &Results) -> Result<String> {
    const NAMES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];
    let curves = LATENCIES.iter().map(|&(id, label, color)| {
        let figures: [fn(&Sample) -> f64; 5] = [
            |sample| sample.figures.latency_us.p50,
            |sample| sample.figures.latency_us.p90,
            |sample| sample.figures.latency_us.p99,
            |sample| sample.figures.latency_us.p99_9,
            |sample| sample.figures.latency_us.max,
        ];
        let medians = figures.iter().map(|figure| results.summary(id, figure).median());
        let points = medians.enumerate().filter_map(|(x, y)| Some((x as f64, y? / 1000.0)));
        Curve { label, color, points: points.collect() }
    });
    lines::draw_named(
        &NAMES,
        &Curves {
            title: "Latency of a batch of 8 kB, 64 clients",
            x: "percentile",
            y: "milliseconds",
            curves: curves.collect(),
        },
    )
}

fn connections(results: &Results) -> Result<String> {
    let curves = CONNECTIONS.iter().map(|&(server, dialect, kept, label, color)| {
        let rate = |id: &str| {
            results.summary(id, |sample| sample.figures.batches_per_second / 1000.0).median()
        };
        let mut points: Vec<_> = results
            .rows
            .iter()
            .filter_map(|row| {
                let clients = Row::parse(&row.id)?.clients;
                let wanted = format!("{server}/{dialect}/{kept}/{clients}/8kB");
                (row.id == wanted).then_some((clients as f64, rate(&row.id)?))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Curve { label, color, points }
    });
    lines::draw_logarithmic(
        1.0..5000.0,
        &Curves {
            title: "Batches of 8 kB against connections",
            x: "connections at the same time",
            y: "thousand batches per second",
            curves: curves.collect(),
        },
    )
}

fn stored(results: &Results) -> Result<String> {
    let point = |point: &crate::results::StoredPoint| {
        (point.bets as f64 / 1e6, point.server_cpu_us_per_bet)
    };
    let points: Vec<_> = results.stored.iter().map(point).collect();
    let most = points.last().map_or(1.0, |&(bets, _)| bets);
    lines::draw_linear(
        0.0..most,
        &Curves {
            title: "Server CPU time per bet against bets stored",
            x: "million bets stored",
            y: "µs per bet",
            curves: vec![Curve {
                label: "ours, sentinel, process, 4 kept connections",
                color: BLUE,
                points,
            }],
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    #[test]
    fn every_row_of_a_plot_is_measured() {
        let ids: Vec<_> = rows::selected(&["goals".to_owned()]).iter().map(Row::id).collect();
        let entries = SERVERS.iter().flat_map(|(_, rows)| rows.iter());
        for (id, ..) in entries.chain(&LATENCIES) {
            assert!(ids.contains(&(*id).to_owned()), "{id}");
        }
        for (server, dialect, kept, ..) in CONNECTIONS {
            for clients in [1, 5000] {
                assert!(ids.contains(&format!("{server}/{dialect}/{kept}/{clients}/8kB")));
            }
        }
    }
}
