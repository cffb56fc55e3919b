//! The log of a real process: its layout, its writes, held lines, and a pipe without reader.
//!
//! The process is this test program, started again with [`ROLE`]; see [`the_started_process_logs`].

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use conventions::log_line::{self, Outcome};
use conventions::logger::{self, LINE_MAX, Stream};
use log::LevelFilter;

/// Variable with the role of a started process: what it logs and where. Without it the test that
/// reads it does nothing.
const ROLE: &str = "CONVENTIONS_TEST_ROLE";

/// Lines that a process in a role `many` writes.
const MANY: usize = 200;

#[test]
fn the_started_process_logs() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let stream = if role.ends_with("stdout") { Stream::Stdout } else { Stream::Stderr };
    logger::init(LevelFilter::Info, stream);
    if role.contains("json") {
        logger::set_format(logger::Format::Json);
    }
    if role.starts_with("held") {
        log_held_lines();
    } else if role.starts_with("many") {
        for number in 0..MANY {
            log_line::info("line", Outcome::Success)
                .with("number", number)
                .with("text", "x".repeat(2900))
                .write();
        }
    } else {
        log_line::info("listen", Outcome::Success).with("port", 12345).write();
        log_line::debug("hidden", Outcome::Success).write();
        log_line::warn("config", Outcome::Fail).with("reason", "a|b\nc").write();
        log_line::error("long", Outcome::Fail).with("text", "ñ".repeat(5000)).write();
        log::info!("not from this module\nbut one line");
    }
}

/// Logs lines with the numbers from 0, most of them while lines are held, and panics.
fn log_held_lines() {
    let line = |number: usize| log_line::info("line", Outcome::Success).with("number", number);
    line(0).write();
    let _held = logger::hold();
    (1..=3).for_each(|number| line(number).write());
    logger::flush();
    // Nothing is held, so this writes nothing.
    logger::flush();
    line(4).write();
    log_line::error("line", Outcome::Fail).with("number", 5).write();
    (6..=10).for_each(|number| line(number).with("text", "x".repeat(1900)).write());
    panic!("while line 10 is held");
}

/// Returns this test program as a command that runs [`the_started_process_logs`] in a role.
fn process(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_started_process_logs", "--nocapture"]).env(ROLE, role);
    command.env("TZ", "UTC").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs a process that logs into a datagram socket, which keeps every write apart.
fn writes(role: &str) -> Vec<String> {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut command = process(role);
    let theirs = Stdio::from(OwnedFd::from(theirs));
    if role.ends_with("stdout") {
        command.stdout(theirs)
    } else {
        command.stderr(theirs)
    };
    let mut child = command.spawn().unwrap();
    let mut writes = Vec::new();
    let mut buffer = vec![0; 4 * LINE_MAX];
    loop {
        // If the process has ended before the read, nothing can arrive after it.
        let ended = child.try_wait().unwrap().is_some();
        while let Ok(length) = ours.recv(&mut buffer) {
            writes.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        if ended {
            return writes;
        }
    }
}

#[test]
fn every_line_is_one_write_in_the_layout_of_the_course() {
    for role in ["few stderr", "few stdout"] {
        let writes = writes(role);
        // The test harness of the started process prints its own lines to its standard output.
        let lines: Vec<_> = writes.iter().filter(|line| line.starts_with("20")).collect();
        assert_eq!(lines.len(), 4, "{role}: {lines:?}");
        for line in &lines {
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{role}: {line}");
            assert!(line.len() <= LINE_MAX, "{role}: {}", line.len());
            let stamp: String =
                line[..20].chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(stamp, "0000-00-00 00:00:00 ", "{role}: {line}");
        }
        assert_eq!(&lines[0][20..], "INFO     action: listen | result: success | port: 12345\n");
        assert_eq!(&lines[1][20..], "WARNING  action: config | result: fail | reason: a¦b\\nc\n");
        assert!(lines[2][20..].starts_with("ERROR    action: long | result: fail | text: ñ"));
        assert!(lines[2].len() > LINE_MAX - 2 && lines[2].ends_with("ñ…\n"), "{}", lines[2].len());
        assert_eq!(&lines[3][20..], "INFO     not from this module\\nbut one line\n");
    }
}

#[test]
fn in_json_every_line_is_one_write_of_one_object() {
    let writes = writes("few json stderr");
    let lines: Vec<_> = writes.iter().filter(|line| line.starts_with('{')).collect();
    let objects: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 4, "{lines:?}");
    for (line, object) in lines.iter().zip(&objects) {
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
        assert!(line.len() <= LINE_MAX, "{}", line.len());
        let time = object["time"].as_str().unwrap();
        let digits: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(digits, "0000-00-00T00:00:00.000Z");
    }
    let levels: Vec<_> = objects.iter().map(|object| object["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["INFO", "WARNING", "ERROR", "INFO"]);
    assert_eq!(objects[0]["action"], "listen");
    assert_eq!(objects[0]["port"], 12345);
    assert_eq!(objects[1]["reason"], "a|b\nc");
    assert_eq!(objects[2]["cut"], true);
    assert!(lines[2].len() > LINE_MAX - 16, "{}", lines[2].len());
    assert_eq!(objects[3]["message"], "not from this module\nbut one line");
}

/// Returns what a process logs in a role to a file that `JOURNAL_STREAM` names, or does not name.
fn logged_to_journal(role: &str, named: bool) -> String {
    let file = std::env::temp_dir().join(format!("{}-{role}-{named}", std::process::id()));
    let stream = std::fs::File::create(&file).unwrap();
    let metadata = stream.metadata().unwrap();
    let inode = if named { metadata.ino() } else { metadata.ino() + 1 };
    let mut command = process(role);
    command.env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev())).stderr(stream);
    assert!(command.status().unwrap().success());
    let log = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    log
}

#[test]
fn in_the_journal_a_line_has_its_priority_and_text_has_no_time() {
    let text = logged_to_journal("few stderr", true);
    let begins: Vec<_> = text.lines().map(|line| &line[..20]).collect();
    let expected = [
        "<6>INFO     action: ",
        "<4>WARNING  action: ",
        "<3>ERROR    action: ",
        "<6>INFO     not from",
    ];
    assert_eq!(begins, expected);
    let json = logged_to_journal("few json stderr", true);
    assert!(
        json.lines().all(|line| line[1..].starts_with(|c: char| c.is_ascii_digit())
            && line[2..].starts_with(">{\"time\":")
            && line.len() < LINE_MAX),
        "{json}"
    );
    assert_eq!(json.lines().count(), 4);
}

#[test]
fn a_stream_that_is_not_the_journal_has_lines_as_usual() {
    let text = logged_to_journal("few stderr", false);
    assert!(text.lines().all(|line| line.starts_with("20")), "{text}");
}

#[test]
fn held_lines_share_a_write_until_a_flush_an_error_a_full_write_or_a_panic() {
    let writes = writes("held stderr");
    let numbers = |write: &String| -> Vec<usize> {
        let line_number = |line: &str| {
            let (_, number) = line.split_once("number: ").unwrap();
            number.split(" | ").next().unwrap().parse().unwrap()
        };
        write.lines().map(line_number).collect()
    };
    // The panic writes its message too.
    let written: Vec<_> = writes.iter().filter(|write| write.starts_with("20")).collect();
    assert!(written.iter().all(|write| write.len() <= LINE_MAX && write.ends_with('\n')));
    let numbers: Vec<_> = written.into_iter().map(numbers).collect();
    let expected = [vec![0], vec![1, 2, 3], vec![4, 5], vec![6, 7], vec![8, 9], vec![10]];
    assert_eq!(numbers, expected);
}

#[test]
fn times_are_local_even_where_the_system_has_no_time_zones() {
    let minutes = |zone: &str| {
        let output = process("few stderr")
            .env("TZ", zone)
            // As in an image without any file of the system.
            .env("TZDIR", "/nonexistent")
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let number = |at: usize| log[at..at + 2].parse::<i32>().unwrap();
        60 * number(11) + number(14)
    };
    // Three hours before UTC. The minute may change between the two processes.
    let passed = (minutes("America/Argentina/Buenos_Aires") - minutes("UTC")).rem_euclid(24 * 60);
    assert!([21 * 60, 21 * 60 - 1].contains(&passed), "{passed}");
}

#[test]
fn lines_of_several_processes_on_one_pipe_stay_whole() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut children: Vec<_> = (0..3)
        .map(|_| process("many stderr").stderr(writer.try_clone().unwrap()).spawn().unwrap())
        .collect();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let expected = |line: &str| {
        line.ends_with(&"x".repeat(2900))
            && line.matches("action:").count() == 1
            && line.starts_with("20")
    };
    assert_eq!(text.lines().count(), 3 * MANY);
    assert_eq!(text.lines().find(|line| !expected(line)), None);
}

#[test]
fn a_pipe_without_a_reader_does_not_stop_the_program() {
    let closed = || std::io::pipe().unwrap().1;
    assert!(process("many stderr").stderr(closed()).status().unwrap().success());
    assert!(closed_from_the_start("many stderr").status().unwrap().success());
}

/// Returns a process that starts with standard error closed.
fn closed_from_the_start(role: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$0\" --exact the_started_process_logs --nocapture 2>&-"])
        .arg(program);
    shell.env(ROLE, role).stdout(Stdio::null());
    shell
}
