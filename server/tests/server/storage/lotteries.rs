//! `loteria-central lottery`: several lotteries beside each other, one of which is the current one.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Participant, Setup, bet, eventually, kill};

fn setup() -> Setup {
    Setup::new().with("SERVER_STORAGE_DIR", "lotteries/current").with("SERVER_WORKERS", "1")
}

/// Begins a lottery. Returns the exit code and the log.
fn begin(setup: &Setup, name: &str) -> (i32, String) {
    let output = setup.run(&["lottery", "new", name]);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Returns the lotteries in the list.
fn listed(setup: &Setup) -> Vec<Value> {
    let output = setup.run(&["lottery", "list", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns name, bets, winners, finished agencies, use by a central, and true if it is the current
/// lottery.
fn summary(lottery: &Value) -> (&str, u64, u64, u64, bool, bool) {
    let number = |key: &str| lottery[key].as_u64().unwrap();
    let is = |key: &str| lottery[key].as_bool().unwrap();
    let name = lottery["name"].as_str().unwrap();
    let totals = (number("bets"), number("winners"), number("agencies_finished"));
    (name, totals.0, totals.1, totals.2, is("in_use"), is("current"))
}

fn rows(setup: &Setup, lottery: &str) -> usize {
    let path = setup.directory().join("lotteries").join(lottery).join("bets.csv");
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_running_central_and_its_new_workers_keep_their_lottery_until_a_restart() {
    let setup = setup();
    assert_eq!(begin(&setup, "first").0, 0);
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "typed", 1);
    agency.store(&[bet("1", true), bet("2", false), bet("3", false)]);

    let (code, log) = begin(&setup, "second");
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("restart the central"), "{log}");
    let killed = central.worker_pids()[0];
    kill(killed, Signal::SIGKILL);
    let is_ready = |status: &Value| {
        let worker = &status["workers"][0];
        worker["pid"] != killed && worker["state"] == "ready"
    };
    eventually("another worker", || central.status(), is_ready);
    let mut agency = Participant::connect(central.port, "typed", 1);
    agency.store(&[bet("4", false), bet("5", true)]);

    let running = listed(&setup);
    let names: Vec<_> = running.iter().map(summary).collect();
    assert_eq!(names, [("first", 5, 2, 0, true, false), ("second", 0, 0, 0, false, true)]);
    assert_eq!(central.stop().0, 0);
    let stopped = listed(&setup);
    assert_eq!(summary(&stopped[0]), ("first", 5, 2, 0, false, false));

    let central = setup.start();
    Participant::connect(central.port, "typed", 1).store(&[bet("6", false)]);
    assert_eq!(summary(&listed(&setup)[1]), ("second", 1, 0, 0, true, true));
    assert_eq!((rows(&setup, "first"), rows(&setup, "second")), (5, 1));
}

#[test]
fn a_name_that_is_taken_or_no_name_is_refused_and_the_current_lottery_stays() {
    let setup = setup();
    assert_eq!(begin(&setup, "first").0, 0);
    for name in ["first", "current", "../first", ".hidden", "", "a/b"] {
        let (code, log) = begin(&setup, name);
        assert_eq!(code, 1, "{name:?}: {log}");
    }
    let link = fs::read_link(setup.directory().join("lotteries/current")).unwrap();
    assert_eq!(link, Path::new("first"));
    assert_eq!(listed(&setup).len(), 1);
}

#[test]
fn an_old_storage_directory_is_listed_and_never_replaced_by_a_link() {
    let setup = setup().with("SERVER_STORAGE_DIR", "lotteries/old");
    let central = setup.start();
    Participant::connect(central.port, "typed", 1).store(&[bet("1", true)]);
    assert_eq!(central.stop().0, 0);
    let (code, log) = begin(&setup, "new");
    assert_eq!(code, 1);
    assert!(log.contains("lotteries/current"), "{log}");
    let setup = setup.with("SERVER_STORAGE_DIR", "lotteries/current");
    assert_eq!(begin(&setup, "new").0, 0);
    let lotteries = listed(&setup);
    let found: Vec<_> = lotteries.iter().map(summary).collect();
    assert_eq!(found, [("new", 0, 0, 0, false, true), ("old", 1, 1, 0, false, false)]);
}
