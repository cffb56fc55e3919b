//! The database of a test whose centrals store their bets in an engine: a lottery of its own on the
//! server that `TEST_POSTGRES` names.

use std::time::{Duration, Instant};

use postgres_link::{Param, Replies, Request, Session};

use super::left_out::left_out;
use super::random::Random;

/// Time of a statement.
const LIMIT: Duration = Duration::from_secs(30);

/// A lottery in a database.
#[derive(Debug)]
pub struct Database {
    /// URL of the server.
    pub url: String,
    /// The lottery.
    pub lottery: String,
}

impl Database {
    /// Returns a new lottery. Without a server, ends this process as if its tests had passed, and
    /// says so.
    pub fn new() -> Self {
        let Ok(url) = std::env::var("TEST_POSTGRES") else {
            left_out(
                "TEST_POSTGRES names no server; `sh scripts/postgres.sh start DIR` starts one and \
                 prints its URL",
            );
            std::process::exit(0);
        };
        Self { url, lottery: format!("test-{:016x}", Random::unseeded().below(u64::MAX)) }
    }

    /// Executes a statement whose first parameter is the lottery.
    pub fn query(&self, sql: &'static str) -> Replies {
        let servers = self.url.parse::<postgres_link::Url>().unwrap().resolve().unwrap();
        let deadline = Instant::now() + LIMIT;
        let mut session = Session::connect(&servers, deadline).unwrap();
        let request = Request::of(sql, &[Param::Text(&self.lottery)]).unwrap();
        session.execute(request, deadline).unwrap()
    }

    /// Returns what the file of this name would contain.
    pub fn file(&self, name: &str) -> Vec<u8> {
        let sql = match name {
            "bets.csv" => "SELECT rows FROM lottery.groups WHERE lottery = $1 ORDER BY place",
            "winners.log" => {
                "SELECT convert_to(line || E'\\n', 'UTF8') FROM lottery.winners \
                 WHERE lottery = $1 ORDER BY place, ord"
            }
            _ => return Vec::new(),
        };
        let replies = self.query(sql);
        replies.of(0).rows().flat_map(|row| row.get::<&[u8]>(0).unwrap().to_vec()).collect()
    }
}
