//! One run: starts a server, sends load to it, and returns the figures.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use load::{Figures, Load, Sources};

use crate::batch::{Repeated, fill};
use crate::cpu_time;
use crate::postgres;
use crate::redis;
use crate::results::{Sample, StoredPoint};
use crate::rows::{Row, Server};
use crate::servers::{Place, Running};

/// Time of the load before the measurement, in seconds.
const WARM_UP: f64 = 0.3;

/// Time of one point of the curve over the stored bets, in seconds.
const POINT: f64 = 0.5;

/// Time limit for a reply.
const REPLY_LIMIT: Duration = Duration::from_secs(30);

/// Threads of the load generator, as many as those of `loteria-agency bench`. One would be a
/// bottleneck for the bare server.
const THREADS: usize = 2;

/// Length of the reply of the bare server.
const BARE_REPLY_BYTES: usize = 3;

/// Performs the run of a row.
pub(crate) fn row(row: &Row, seconds: f64, place: &Place) -> Result<Sample> {
    let mut batch = fill(row.dialect, row.batch.max_bets(), true)?;
    let (bets, bytes) = (batch.bets(), batch.packet().len());
    let running = Running::start(row, bytes, place)?;
    load(row, bets, bytes, WARM_UP, place, &running).context("warming up")?;
    let used = || -> Result<_> {
        let engine = running.engine_pid().map(cpu_time::of_tree).transpose()?;
        Ok((cpu_time::of_tree(running.pid())?, engine))
    };
    let (before, engine_before) = used()?;
    let figures = load(row, bets, bytes, seconds, place, &running)?;
    let (after, engine_after) = used()?;
    if figures.failed() > 0 {
        bail!("batches have failed: {:?}", figures.errors);
    }
    let us_per_batch = |before: Duration, after: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / figures.batches as f64
    };
    Ok(Sample {
        batch_bytes: bytes,
        bets_per_batch: bets,
        server_cpu_us_per_batch: us_per_batch(before, after),
        engine_cpu_us_per_batch: engine_before
            .zip(engine_after)
            .map(|(before, after)| us_per_batch(before, after)),
        figures,
    })
}

/// Fills one central up to `bets` bets, and measures on the way.
pub(crate) fn stored(row: &Row, bets: u64, place: &Place) -> Result<Vec<StoredPoint>> {
    let mut batch = fill(row.dialect, row.batch.max_bets(), true)?;
    let (per_batch, bytes) = (batch.bets(), batch.packet().len());
    let running = Running::start(row, bytes, place)?;
    let (mut points, mut total) = (Vec::new(), 0);
    while total < bets {
        let before = cpu_time::of_tree(running.pid())?;
        let figures = load(row, per_batch, bytes, POINT, place, &running)?;
        let cpu = cpu_time::of_tree(running.pid())?.saturating_sub(before);
        let stored = figures.batches * per_batch as u64;
        total += stored;
        points.push(StoredPoint {
            bets: total,
            bets_per_second: figures.batches_per_second * per_batch as f64,
            server_cpu_us_per_bet: cpu.as_secs_f64() * 1e6 / stored as f64,
        });
    }
    Ok(points)
}

fn load(
    row: &Row,
    bets: usize,
    bytes: usize,
    seconds: f64,
    place: &Place,
    running: &Running,
) -> Result<Figures> {
    if row.server.is_ours() {
        return client_bench(row, seconds, place, running.port);
    }
    let server = SocketAddr::from(([127, 0, 0, 1], running.port));
    // The default of PostgreSQL trusts one address. A few connections need no more.
    let sources = if row.kept { Sources::System } else { Sources::automatic(server) };
    let load = Load {
        server,
        sources,
        kept: row.kept,
        duration: Duration::from_secs_f64(seconds),
        reply_limit: REPLY_LIMIT,
        threads: THREADS,
    };
    load::max_clients()?;
    let figures = match row.server {
        Server::RedisXadd => send(&load, row, Vec::new(), redis::xadd(bytes), redis::judge),
        Server::RedisLua => send(&load, row, Vec::new(), redis::lua(bets), redis::judge),
        Server::PostgresInsert | Server::PostgresCopy => {
            let dialogue = match row.server {
                Server::PostgresInsert => postgres::insert(bets),
                _ => postgres::copy(bets),
            };
            let greeted = dialogue.ready_after_greeting;
            send(&load, row, dialogue.greeting, dialogue.request, move |reply, first| {
                postgres::judge(reply, 1 + if first { greeted } else { 0 })
            })
        }
        Server::Python | Server::PythonTuned => {
            let batch = fill(row.dialect, row.batch.max_bets(), true)?.packet().to_vec();
            // No winners: their number is two bytes.
            send(&load, row, Vec::new(), batch, |reply, _| Ok(reply == [0, 0]))
        }
        _ => send(&load, row, Vec::new(), vec![0; bytes], |reply, _| {
            Ok(reply.len() >= BARE_REPLY_BYTES)
        }),
    };
    Ok(figures?)
}

fn send(
    load: &Load,
    row: &Row,
    greeting: Vec<u8>,
    request: Vec<u8>,
    judge: impl Fn(&[u8], bool) -> Result<bool, String> + Clone + Send,
) -> Result<Figures, load::LoadError> {
    let client = Repeated { greeting, request, judge };
    load.run(vec![client; row.clients], &|| false)
}

/// Sends the load of a row with `loteria-agency bench`.
fn client_bench(row: &Row, seconds: f64, place: &Place, port: u16) -> Result<Figures> {
    let mut command = Command::new(place.programs.join("loteria-agency"));
    command.args(["bench", "--json", "--protocol", row.dialect.name]);
    command.args(["--clients", &row.clients.to_string(), "--seconds", &seconds.to_string()]);
    command.args(["--batch", row.batch.name(), &format!("127.0.0.1:{port}")]);
    if row.kept {
        command.arg("--kept");
    }
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("the figures of client bench")
}
