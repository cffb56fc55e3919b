//! A start from storage that the first version of the server wrote: nothing is lost, and the
//! lottery goes on.

use std::fs::{self, OpenOptions};
use std::path::Path;

use lottery::protocol::Receipt;

use crate::harness::{Participant, Setup, bet};

/// Sizes of the files whose trailing zeros the fixtures leave out.
const FIXED_SIZES: [(&str, u64); 2] = [("journal", 8 * 1024 * 1024 + 8192), ("finished", 65_536)];

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/storage-v1"))
}

/// Returns the setup of a central whose storage is a copy of a fixture.
fn setup_from(fixture: &str, durability: &str) -> Setup {
    let setup = Setup::new()
        .with("SERVER_DURABILITY", durability)
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_AGENCIES", "2");
    fs::create_dir(setup.stored("")).unwrap();
    for file in fs::read_dir(fixtures().join(fixture)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), setup.stored(file.file_name().to_str().unwrap())).unwrap();
    }
    for (name, size) in FIXED_SIZES {
        OpenOptions::new().write(true).open(setup.stored(name)).unwrap().set_len(size).unwrap();
    }
    setup
}

fn winners_of(port: u16, agency: u16) -> u64 {
    let mut participant = Participant::connect(port, "framed", agency);
    participant.ask();
    participant.winners().0
}

#[test]
fn a_killed_central_of_the_first_version_is_recovered_and_its_lottery_goes_on() {
    let expected = fs::read(fixtures().join("killed-bets.csv")).unwrap();
    for durability in ["process", "disk"] {
        let setup = setup_from(&format!("killed-{durability}"), durability);
        let central = setup.start();
        assert_eq!(setup.read_stored("bets.csv"), expected, "{durability}");
        let numbers = ["bets", "winners", "agencies_finished"].map(|key| central.number(key));
        assert_eq!(numbers, [8, 4, 1], "{durability}");
        let lines = String::from_utf8(setup.read_stored("winners.log")).unwrap();
        assert_eq!(lines.lines().count(), 4, "{durability}");

        let mut second = Participant::connect(central.port, "framed", 2);
        let stored = second.store(&[bet("two-2", true)]);
        assert!(matches!(stored, Receipt::Stored { .. }), "{stored:?}");
        second.finish();
        assert_eq!(second.winners().0, 2, "{durability}");
        central.until_drawn();
        setup.assert_indexed();
        assert_eq!(winners_of(central.port, 1), 3, "{durability}");
        assert_eq!(central.stop().0, 0);
    }
}

#[test]
fn the_draw_of_the_first_version_answers_late_questions_and_takes_no_bets() {
    let setup = setup_from("drawn", "process");
    let before = ["bets.csv", "winners.log", "draw.csv"].map(|file| setup.read_stored(file));
    let central = setup.start();
    assert_eq!([1, 2].map(|agency| winners_of(central.port, agency)), [2, 1]);
    let refused = Participant::connect(central.port, "framed", 1).store(&[bet("late", true)]);
    assert_eq!(refused, Receipt::Refused);
    assert_eq!(central.stop().0, 0);
    let after = ["bets.csv", "winners.log", "draw.csv"].map(|file| setup.read_stored(file));
    assert_eq!(after, before);
}
