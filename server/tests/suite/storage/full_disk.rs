//! The disk is full, or a file may not grow any further: a batch that does not fit is refused and leaves nothing, what was stored
//! stays, and once there is room the central goes on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Book, Central, Setup, eventually, is_alive};
use nix::unistd::geteuid;

/// Bets of a batch: about 7 kB.
const BETS: usize = 120;
/// More batches than fit.
const ENOUGH: usize = 2000;

fn setup(durability: &str) -> Setup {
    Setup::new().with("SERVER_DURABILITY", durability).with("LOGGING_LEVEL", "INFO")
}

/// The program as this setup starts it, inside a shell that does something first.
fn in_shell(setup: &Setup, wrapper: &[&str], script: &str) -> Command {
    let plain = setup.command(&[]);
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).args(["sh", "-c", script]).arg(plain.get_program());
    command.current_dir(setup.directory());
    command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command
}

/// Sends batches until one is refused.
fn fill(central: &Central<'_>, book: &Book) {
    let stored = (0..ENOUGH).take_while(|_| book.send_batch(central.port, BETS, BETS / 2)).count();
    assert!((1..ENOUGH).contains(&stored), "{stored} batches were stored");
}

/// What a refused batch must leave: nothing, living workers, and right totals.
fn is_unharmed(
    central: &Central<'_>,
    workers: &[u32],
    book: &Book,
    read: impl Fn(&str) -> Vec<u8>,
) {
    central.nobody_in_flight_within_a_second();
    let totals = book.check_files(&read("bets.csv"), &read("winners.log"));
    assert_eq!(central.results().winners, totals.winners);
    assert_eq!(central.number("bets"), totals.bets);
    assert_eq!(totals.bets, (book.acknowledged() * BETS) as u64, "a refused batch is not stored");
    assert!(workers.iter().all(|pid| is_alive(*pid)));
    assert_eq!(central.worker_pids(), workers);
    assert_eq!(central.number("worker_deaths"), 0);
}

/// A central whose storage is a file system of its own with 12 MB, 8 of them for the journal and 2 for a filler.
fn on_a_full_disk(durability: &str) {
    if !geteuid().is_root() {
        println!("SKIPPED: only root can mount a small file system");
        return;
    }
    let (setup, book) = (setup(durability), Book::default());
    fs::create_dir(setup.stored("")).unwrap();
    let script = "mount -t tmpfs -o size=12m tmpfs storage && truncate -s 0 storage/filler \
                  && head -c 2097152 /dev/zero > storage/filler && exec \"$0\" run";
    let central = setup.start_by(&mut in_shell(&setup, &["unshare", "-m"], script));
    // The storage as the central sees it: from outside the mount there is an empty directory.
    let seen = |file: &str| {
        PathBuf::from(format!(
            "/proc/{}/root{}",
            central.program.pid(),
            setup.stored(file).display()
        ))
    };
    let read = |file: &str| fs::read(seen(file)).unwrap();
    let workers = central.worker_pids();

    fill(&central, &book);
    let line = central.program.line_with("action: receive_message | result: fail");
    assert!(line.contains("No space left") && line.contains("ip: 127.0.0.1"), "{line}");
    is_unharmed(&central, &workers, &book, read);
    for bets in [BETS, BETS, 1, BETS] {
        // One that is small enough may fit.
        book.send_batch(central.port, bets, 0);
    }
    let before = book.acknowledged();
    fs::remove_file(seen("filler")).unwrap();

    assert!(book.send_batch(central.port, BETS, BETS / 2), "there is room again");
    assert!(book.acknowledged() > before);
    let totals = book.check_files(&read("bets.csv"), &read("winners.log"));
    assert_eq!((central.results().winners, central.number("bets")), (totals.winners, totals.bets));
    assert_eq!(central.worker_pids(), workers);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_batch_that_does_not_fit_the_disk_is_refused_and_everything_else_goes_on() {
    on_a_full_disk("process");
}

#[test]
fn a_batch_that_does_not_fit_the_disk_is_refused_and_everything_else_goes_on_with_durability_disk()
{
    on_a_full_disk("disk");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_of_a_batch_and_no_reason_to_die() {
    let (setup, book) = (setup("process"), Book::default());
    fs::create_dir(setup.stored("")).unwrap();
    // A storage that nearly reaches the limit of 9 MB.
    let row = b"0,Santiago Lionel,Lorca,0-0,1999-03-17,1033\r\n";
    fs::write(setup.stored("bets.csv"), row.repeat(190_000)).unwrap();
    // The soft limit alone, in blocks of 512 bytes, so that it can be raised again.
    let script = "ulimit -S -f 18432 && exec \"$0\" run";
    let central = setup.start_by(&mut in_shell(&setup, &["env"], script));
    let (before, workers) = (setup.read_stored("bets.csv").len(), central.worker_pids());
    let read =
        |file: &str| setup.read_stored(file).split_off(if file == "bets.csv" { before } else { 0 });

    let stored = (0..ENOUGH).take_while(|_| book.send_batch(central.port, BETS, BETS / 2)).count();
    assert!((1..ENOUGH).contains(&stored), "{stored} batches were stored");
    let line = central.program.line_with("action: receive_message | result: fail");
    assert!(line.contains("File too large"), "{line}");
    assert_eq!(central.worker_pids(), workers, "SIGXFSZ killed nobody");
    let totals = book.check_files(&read("bets.csv"), &read("winners.log"));
    assert_eq!(totals.bets, (stored * BETS) as u64);

    for pid in &workers {
        let raised = Command::new("prlimit")
            .args(["--pid", &pid.to_string(), "--fsize=unlimited:"])
            .status();
        assert!(raised.unwrap().success());
    }
    let stored = || book.send_batch(central.port, BETS, BETS / 2);
    eventually("a batch is stored again", stored, |stored| *stored);
    let totals = book.check_files(&read("bets.csv"), &read("winners.log"));
    assert_eq!(central.results().winners, totals.winners);
    assert_eq!(central.number("worker_deaths"), 0);
    assert_eq!(central.stop().0, 0);
}
