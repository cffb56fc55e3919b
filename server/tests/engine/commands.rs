//! The commands of an operator for a lottery in an engine.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::harness::{CentralProcess, Participant, Setup, bets_with, packet_of, winners_reply};

/// Returns the exit code, the output and the log of a command.
fn run(setup: &Setup, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = setup.run(arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Checks that a command fails and logs this text.
fn fails(setup: &Setup, arguments: &[&str], text: &str) {
    let (code, _, log) = run(setup, arguments);
    assert!(code == 1 && log.contains(text), "{code} {log}");
}

/// Returns a setup in which two agencies take part in the draw.
fn two_agencies() -> Setup {
    Setup::new().with("SERVER_PROTOCOL", "framed").with("SERVER_AGENCIES", "2")
}

/// Returns the same setup on a machine without a central: none listens on its port.
fn far_from(setup: &Setup) -> Setup {
    let mut far = two_agencies();
    far.set("SERVER_LOTTERY", &setup.database.as_ref().unwrap().lottery);
    far.keep_port();
    far
}

/// Agencies 1 and 2 store 13 bets, of which 11, 12 and 21 win, and finish.
pub fn take_part<'a>(central: &CentralProcess<'a>) -> Vec<Participant> {
    let documents: [&[u32]; 2] = [&[11, 12], &[21]];
    (1..=2)
        .zip(documents)
        .map(|(number, documents)| {
            let mut agency = Participant::connect(central.port, "framed", number);
            agency.store(&bets_with(documents));
            agency.finish();
            agency
        })
        .collect()
}

/// Returns a lottery whose draw has been held and whose central has stopped.
fn drawn() -> Setup {
    let setup = two_agencies();
    let central = setup.start();
    let mut agencies = take_part(&central);
    assert_eq!(agencies[0].winners().1, winners_reply("framed", &[11, 12]));
    assert_eq!(central.stop().0, 0);
    setup
}

#[test]
fn an_export_is_a_storage_on_which_a_central_starts() {
    let setup = drawn();
    let (code, _, log) = run(&setup, &["export", "exported"]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("bets: 13 | winners: 3 | drawn: true"), "{log}");
    let file = |name: &str| fs::read(setup.directory().join("exported").join(name)).unwrap();
    assert_eq!(file("bets.csv"), setup.read_stored("bets.csv"));
    assert_eq!(file("winners.log"), setup.read_stored("winners.log"));
    let draw = String::from_utf8(file("draw.csv")).unwrap();
    let (title, rows) = draw.split_once("\r\n").unwrap();
    assert!(title.starts_with("draw,13,3,"), "{title}");
    assert_eq!(rows, "1,11\r\n1,12\r\n2,21\r\n");
    assert_eq!(fs::read_dir(setup.directory().join("exported")).unwrap().count(), 3);

    let setup = setup.with("SERVER_STORAGE", "files").with("SERVER_STORAGE_DIR", "exported");
    let central = setup.start();
    assert_eq!((central.number("bets"), central.number("winners")), (13, 3));
    assert_eq!(central.status()["drawn"], true);
    let mut agency = Participant::connect(central.port, "framed", 2);
    agency.ask();
    assert_eq!(agency.winners().1, winners_reply("framed", &[21]));
    assert_eq!(central.stop().0, 0);
    assert_eq!(run(&setup, &["verify"]).0, 0);
}

#[test]
fn an_export_before_the_draw_has_what_is_stored_and_no_result() {
    let setup = Setup::new();
    let central = setup.start();
    central.request(&packet_of("a", 3, 1));
    let (code, _, log) = run(&setup, &["export", "exported"]);
    assert_eq!(code, 0, "{log}");
    let exported = setup.directory().join("exported");
    assert_eq!(fs::read(exported.join("bets.csv")).unwrap(), setup.read_stored("bets.csv"));
    assert!(!exported.join("draw.csv").exists());
}

#[test]
fn an_export_replaces_no_file() {
    let setup = drawn();
    for name in ["bets.csv", "winners.log", "draw.csv"] {
        let directory = setup.directory().join(name.replace('.', "-"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(name), "mine").unwrap();
        fails(&setup, &["export", directory.to_str().unwrap()], &format!("{name} exists: choose"));
        assert_eq!(fs::read(directory.join(name)).unwrap(), b"mine");
        assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
    }
}

#[test]
fn a_command_names_the_lotteries_that_exist() {
    let setup = drawn();
    let lottery = setup.database.as_ref().unwrap().lottery.clone();
    let setup = far_from(&setup).with("SERVER_LOTTERY", "no-such-lottery");
    for arguments in [&["export", "exported"][..], &["verify"], &["status"], &["draw"]] {
        fails(&setup, arguments, "there is no lottery no-such-lottery in the database, which has ");
        fails(&setup, arguments, &lottery);
    }
    assert!(!setup.directory().join("exported").exists());
}

#[test]
fn files_are_backed_up_and_not_exported() {
    let setup = Setup::new().with("SERVER_STORAGE", "files");
    fails(&setup, &["export", "exported"], "use `loteria-central backup`");
}

/// Changes of a lottery, how to undo them, and what `verify` says about them.
const DAMAGE: &[(&str, &str, &str)] = &[
    (
        "UPDATE lottery.workers SET bets = bets + 1 WHERE lottery = $1 AND bets > 0",
        "UPDATE lottery.workers SET bets = bets - 1 WHERE lottery = $1 AND bets > 0",
        "bets, and ",
    ),
    (
        "UPDATE lottery.winners SET document = 'x' || document WHERE lottery = $1",
        "UPDATE lottery.winners SET document = substr(document, 2) WHERE lottery = $1",
        "the bet 11 has won, and is not among its winners",
    ),
    (
        "UPDATE lottery.winners SET line = 'x' || line WHERE lottery = $1",
        "UPDATE lottery.winners SET line = substr(line, 2) WHERE lottery = $1",
        "has won, and is not among its winners",
    ),
    (
        "UPDATE lottery.groups SET rows = 'x' || rows WHERE lottery = $1",
        "UPDATE lottery.groups SET rows = substr(rows, 2) WHERE lottery = $1",
        "its rows are not bets",
    ),
    (
        "UPDATE lottery.groups SET seq = seq + 1000 WHERE lottery = $1",
        "UPDATE lottery.groups SET seq = seq - 1000 WHERE lottery = $1",
        "it has 2 winners and no bets",
    ),
    (
        "UPDATE lottery.draw SET document = 'x' || document WHERE lottery = $1 AND agency = 2",
        "UPDATE lottery.draw SET document = substr(document, 2) \
         WHERE lottery = $1 AND agency = 2",
        "the winners of the draw are not those among the bets, first of agency 2",
    ),
    (
        "UPDATE lottery.lotteries SET drawn_bets = 4 WHERE lottery = $1",
        "UPDATE lottery.lotteries SET drawn_bets = 13 WHERE lottery = $1",
        "the draw was held over 4 bets, and 13 are stored",
    ),
    (
        "UPDATE lottery.lotteries SET drawn_winners = 4 WHERE lottery = $1",
        "UPDATE lottery.lotteries SET drawn_winners = 3 WHERE lottery = $1",
        "the draw counts 4 winners, and has 3",
    ),
    (
        "UPDATE lottery.lotteries SET expected = 3 WHERE lottery = $1",
        "UPDATE lottery.lotteries SET expected = 2 WHERE lottery = $1",
        "bets are closed, and 2 of 3 agencies have finished",
    ),
    (
        "UPDATE lottery.lotteries SET state = 'closed' WHERE lottery = $1",
        "UPDATE lottery.lotteries SET state = 'drawn' WHERE lottery = $1",
        "there is a result, and the draw has not been held",
    ),
];

#[test]
fn verify_finds_what_is_not_as_it_was_acknowledged() {
    let setup = drawn();
    let (code, _, log) = run(&setup, &["verify"]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("bets: 13 | winners: 3 | agencies_finished: 2"), "{log}");

    let database = setup.database.as_ref().unwrap();
    for (damage, repair, text) in DAMAGE {
        database.query(damage);
        fails(&setup, &["verify"], text);
        database.query(repair);
    }
    assert_eq!(run(&setup, &["verify"]).0, 0, "the repairs have undone the damage");
}

#[test]
fn a_lost_group_is_found() {
    let setup = drawn();
    let database = setup.database.as_ref().unwrap();
    database.query("DELETE FROM lottery.groups WHERE lottery = $1");
    fails(&setup, &["verify"], "batches, and 0 are stored");
    fails(&setup, &["export", "exported"], "the lottery counts 13 bets and 3 winners, but 0 and 0");
    let left = fs::read_dir(setup.directory().join("exported")).unwrap();
    assert!(left.flatten().all(|entry| entry.file_name().to_str().unwrap().ends_with(".new")));
}

#[test]
fn the_status_shows_every_central_from_a_machine_without_one() {
    let setup = two_agencies();
    let mut second = far_from(&setup).with("SERVER_CENTRAL_NAME", "b");
    second.keep_port();
    let (a, b) = (setup.start(), second.start());
    let mut agency = Participant::connect(a.port, "framed", 1);
    agency.store(&bets_with(&[11, 12]));
    drop(agency);
    assert_eq!(a.stop().0, 0);

    let status = |setup: &Setup| -> Value {
        let (code, json, log) = run(setup, &["status", "--json"]);
        assert_eq!(code, 0, "{log}");
        serde_json::from_str(&json).unwrap()
    };
    let far = status(&far_from(&setup));
    assert!(far.get("phase").is_none(), "no central runs on this port: {far}");
    let lottery = &far["lottery"];
    assert_eq!((&lottery["state"], &lottery["bets"]), (&"open".into(), &7.into()));
    let centrals = lottery["centrals"].as_array().unwrap();
    let shown = |key: &str| centrals.iter().map(|central| central[key].clone()).collect::<Vec<_>>();
    assert_eq!(shown("central"), ["a", "b"]);
    assert_eq!(shown("alive"), [false, true]);
    assert_eq!(shown("bets"), [7, 0]);
    assert!(centrals[0]["seen_ms"].is_null() && centrals[1]["seen_ms"].is_u64());

    let near = status(&second);
    assert_eq!(near["phase"], "serving");
    assert_eq!(near["lottery"]["bets"], 7);
    let (_, table, _) = run(&far_from(&setup), &["status"]);
    assert!(table.contains("draw: 0 of 2 agencies have finished"), "{table}");
    assert!(table.lines().any(|line| line.starts_with("a       gone ")), "{table}");
    assert!(table.lines().any(|line| line.starts_with("b       alive ")), "{table}");
    assert_eq!(b.stop().0, 0);
}

#[test]
fn an_operator_confirms_the_draw_from_a_machine_without_a_central() {
    let setup = two_agencies().with("SERVER_DRAW", "confirm");
    let central = setup.start();
    let mut agencies = take_part(&central);
    let far = far_from(&setup);
    let (code, text, log) = run(&far, &["draw"]);
    assert_eq!(code, 0, "{log}");
    assert!(text.contains("2 of 2 agencies have finished\nfinished: 1, 2\n"), "{text}");
    assert!(text.contains("the draw waits for `loteria-central draw --confirm`"), "{text}");

    let (code, text, log) = run(&far, &["draw", "--reopen"]);
    assert_eq!(
        (code, text.as_str()),
        (0, "bets are open: every agency has to finish again\n"),
        "{log}"
    );
    fails(&far, &["draw", "--confirm"], "0 of 2 agencies have finished");
    for agency in &mut agencies {
        agency.reconnect();
        agency.finish();
    }
    let (code, text, log) = run(&far, &["draw", "--confirm"]);
    assert_eq!((code, text.as_str()), (0, "the draw has been held\n"), "{log}");
    assert_eq!(agencies[1].winners().1, winners_reply("framed", &[21]));
    let (_, text, _) = run(&far, &["draw", "--confirm"]);
    assert_eq!(text, "the draw has been held already\n");
    fails(&far, &["draw", "--reopen"], "a new lottery needs another SERVER_LOTTERY");
    assert_eq!(central.stop().0, 0);
}

#[test]
fn an_engine_that_cannot_be_reached_is_named() {
    let setup = far_from(&Setup::new()).with("SERVER_STORAGE", "postgres://a@127.0.0.1:1/x");
    fails(&setup, &["status"], "no primary: 127.0.0.1:1: connecting: ");
}

#[test]
fn the_status_of_a_central_is_shown_although_its_engine_cannot_be_reached() {
    let setup = Setup::new();
    let central = setup.start();
    let status = setup
        .command(&["status", "--port", &central.port.to_string()])
        .env("SERVER_STORAGE", "postgres://a@127.0.0.1:1/x")
        .output()
        .unwrap();
    assert!(status.status.success());
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("draw: 0 of "), "{text}");
    assert!(text.contains("NOT KNOWN: the lottery in the engine: no primary: "), "{text}");
}
