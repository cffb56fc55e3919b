//! `loteria-agency teach`: the server without faults keeps every rule, and `loteria-agency check`
//! finds each fault of it by the rules that it breaks. So this is also the test of the checker.

use std::net::SocketAddr;
use std::thread;

use lottery::protocol::{DIALECTS, Dialect};
use nix::sys::signal::Signal::SIGINT;

use crate::check::{each, report_of};
use crate::support::{PROMPT, Running, Setup, dialects_that};

/// Long enough for a reply on a loaded machine.
const PATIENT: [&str; 3] = ["--beyond", "--timeout", "4s"];
/// Flags of a check of the rules with several agencies only.
const AGENCIES: [&str; 4] = ["--group", "draw", "--group", "concurrency"];
/// Flags of a check of the other rules.
const MESSAGES: [&str; 6] = ["--group", "replies", "--group", "refusals", "--group", "framing"];

/// A fault, and for each kind of dialect the rules that a server with it breaks.
struct Planted {
    fault: &'static str,
    /// Rules that it always breaks, in a dialect with a draw.
    draw: &'static [&'static str],
    /// Rules that it breaks too if the fault happens to hit what they ask for.
    draw_perhaps: &'static [&'static str],
    /// The same in a dialect without a draw.
    total: &'static [&'static str],
    total_perhaps: &'static [&'static str],
}

/// The faults that break rules with several agencies.
const PLANTED: &[Planted] = &[
    Planted {
        fault: "torn-batch",
        draw: &["draw-torn-batch"],
        draw_perhaps: &[],
        total: &["torn-batch"],
        total_perhaps: &[],
    },
    Planted {
        fault: "lost-lock",
        // Which batches are lost differs. The last agency asks again, which is another rule.
        draw: &[],
        draw_perhaps: &["draw-winners", "draw-returns"],
        total: &["concurrent-winners"],
        // Some of the bets without a number win, and may be lost.
        total_perhaps: &["concurrent-total", "counted-before-reply"],
    },
    Planted {
        fault: "counts-after-replying",
        // The last batch of agency 1 has a winner.
        draw: &["draw-winners"],
        draw_perhaps: &[],
        total: &["counted-before-reply"],
        total_perhaps: &["concurrent-total", "concurrent-winners"],
    },
    Planted {
        fault: "no-draw-wait",
        draw: &["draw-waits", "draw-distinct"],
        draw_perhaps: &[],
        total: &[],
        total_perhaps: &[],
    },
    Planted {
        fault: "counts-notifications",
        draw: &["draw-distinct"],
        // The draw comes before the bets of agency 1.
        draw_perhaps: &["draw-stored", "draw-repeated", "draw-winners", "draw-repeated-late"],
        total: &[],
        total_perhaps: &[],
    },
    Planted {
        fault: "all-winners",
        draw: &["draw-winners", "draw-returns"],
        draw_perhaps: &[],
        total: &[],
        total_perhaps: &[],
    },
    Planted {
        fault: "late-bets",
        draw: &["draw-late-batch"],
        draw_perhaps: &[],
        total: &[],
        total_perhaps: &[],
    },
    Planted {
        fault: "premature-total",
        draw: &[],
        draw_perhaps: &[],
        total: &["total-in-flight"],
        total_perhaps: &[],
    },
];

/// A running teaching server.
pub(crate) struct Teaching {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
}

/// Starts a teaching server.
pub(crate) fn teach(dialect: &str, fault: Option<&str>) -> Teaching {
    let setup = Setup::new().args(["teach", "--protocol", dialect, "127.0.0.1:0"]);
    let setup = fault.into_iter().fold(setup, |setup, fault| setup.args(["--fault", fault]));
    let mut running = setup.start();
    let line = running.wait_for("faults:");
    let address = line.split([' ', ',']).nth(2).unwrap().parse().unwrap();
    Teaching { running, address }
}

/// Checks a teaching server. Returns the exit code and the identifiers of the broken rows, without
/// the dialect.
fn broken(
    dialect: &Dialect,
    fault: Option<&str>,
    arguments: &[&str],
) -> (Option<i32>, Vec<String>) {
    let server = teach(dialect.name, fault);
    let report = report_of(dialect.name, server.address, &[&PATIENT, arguments].concat());
    assert!(report.json["stopped"].is_null(), "{:#}", report.json["stopped"]);
    let failed = report.rows().iter().filter(|row| row["passed"] == false);
    let name = |row: &serde_json::Value| {
        let id = row["id"].as_str().unwrap();
        id.strip_prefix(&format!("{}/", dialect.name)).unwrap().to_owned()
    };
    (report.code, failed.map(name).collect())
}

impl Planted {
    /// Returns the rules that a server of this dialect always breaks, and those that it may break.
    fn rules(&self, dialect: &Dialect) -> [&'static [&'static str]; 2] {
        match dialect.waits_for_draw {
            _ if dialect.agency.is_none() => [&[], &[]],
            true => [self.draw, self.draw_perhaps],
            false => [self.total, self.total_perhaps],
        }
    }
}

#[test]
fn a_server_without_faults_breaks_no_rule() {
    each(DIALECTS, |dialect| {
        assert_eq!(broken(dialect, None, &[]), (Some(0), vec![]), "{}", dialect.name);
    });
}

#[test]
fn each_fault_with_several_agencies_breaks_its_rules_and_no_other() {
    let look = |planted: &Planted, dialect: &Dialect| {
        let [always, perhaps] = planted.rules(dialect);
        let (code, broken) = broken(dialect, Some(planted.fault), &AGENCIES);
        let is_known = |id: &String| [always, perhaps].concat().contains(&&**id);
        let is_right = !broken.is_empty()
            && always.iter().all(|rule| broken.iter().any(|id| id == rule))
            && broken.iter().all(is_known);
        assert!(is_right && code == Some(1), "{}, {}: {broken:?}", dialect.name, planted.fault);
    };
    // At the same time, because a check mostly waits.
    thread::scope(|scope| {
        for planted in PLANTED {
            for dialect in DIALECTS {
                if planted.rules(dialect).iter().any(|rules| !rules.is_empty()) {
                    scope.spawn(move || look(planted, dialect));
                }
            }
        }
    });
}

#[test]
fn repetitions_that_are_stored_break_the_rules_about_winners() {
    each(dialects_that(|dialect| dialect.has_keys), |dialect| {
        let (_, broken) = broken(dialect, Some("stores-repetitions"), &AGENCIES);
        assert_eq!(broken, ["draw-winners", "draw-returns"], "{}", dialect.name);
    });
}

#[test]
fn short_reads_break_only_rules_whose_messages_come_in_pieces() {
    each(DIALECTS, |dialect| {
        let (code, broken) = broken(dialect, Some("short-read"), &MESSAGES);
        // The first rule is the plainest message. In some of the others silence is right.
        let first = format!("{}-split", (dialect.rules)()[0].id);
        let in_pieces = |id: &String| id.ends_with("-split");
        assert!(broken.contains(&first) && broken.iter().all(in_pieces), "{broken:?}");
        assert_eq!(code, Some(1), "{}", dialect.name);
    });
}

#[test]
fn a_byte_after_each_reply_breaks_the_first_rule_by_both_methods() {
    each(DIALECTS, |dialect| {
        let (code, broken) = broken(dialect, Some("trailing-byte"), &MESSAGES);
        let first = (dialect.rules)()[0].id;
        for id in [first.to_owned(), format!("{first}-split")] {
            assert!(broken.contains(&id), "{}: {id} is not in {broken:?}", dialect.name);
        }
        assert_eq!(code, Some(1), "{}", dialect.name);
    });
}

#[test]
fn a_fault_that_the_dialect_cannot_have_is_refused_with_those_it_can() {
    let setup = Setup::new().args(["teach", "--protocol", "typed", "127.0.0.1:0"]);
    let ended = setup.args(["--fault", "no-draw-wait"]).finish();
    assert_eq!((ended.code, ended.lines.len()), (Some(2), 0));
    assert_eq!(
        ended.errors,
        "client: --fault no-draw-wait changes nothing in typed, which has short-read, \
         trailing-byte, torn-batch, lost-lock, counts-after-replying, premature-total\n"
    );
}

#[test]
fn an_address_in_use_is_named_and_exits_with_1() {
    let server = teach("echo", None);
    let address = server.address.to_string();
    let ended = Setup::new().args(["teach", "--protocol", "echo", &address]).finish();
    assert_eq!(ended.code, Some(1));
    let expected = format!("client: cannot listen on {address}: Address already in use");
    assert!(ended.errors.starts_with(&expected), "{}", ended.errors);
}

#[test]
fn a_signal_ends_the_server_with_0() {
    let server = teach("framed", None);
    server.running.signal(SIGINT);
    assert_eq!(server.running.finish_within(PROMPT).code, Some(0));
}
