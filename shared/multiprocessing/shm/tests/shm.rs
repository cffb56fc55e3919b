//! The real command, on segments of living and of killed creators.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use multiprocessing::{Plan, Segment, SegmentName, Shareable};
use serde_json::{Value, json};

/// Names the segment that this test binary creates as a program of its own.
const CREATED: &str = "SHM_TEST_CREATED";

/// Runs `shm` and returns its exit code, output and errors.
fn shm(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_shm")).args(arguments).output().unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn unique_name() -> SegmentName {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    SegmentName::new(&format!("shm-test.{}.{number}", std::process::id())).unwrap()
}

#[derive(Clone, Copy, Debug, Shareable)]
#[repr(C)]
struct Agency {
    bets: u32,
    at: [i16; 2],
}

fn segment(name: &SegmentName) -> Segment {
    let plan = Plan::new().lock("lock").value::<u64>("winners").raw_array::<i16>("numbers", 3);
    let plan = plan.array::<f64>("floats", 2).event("done").array::<Agency>("agencies", 2);
    let segment = Segment::create(name, &plan).unwrap();
    let agency = Agency { bets: 9, at: [-1, 2] };
    segment.array::<Agency>("agencies").unwrap().lock().unwrap()[1] = agency;
    segment.value::<u64>("winners").unwrap().set(u64::MAX).unwrap();
    segment.raw_array::<i16>("numbers").unwrap().store(1, -7);
    segment.array::<f64>("floats").unwrap().lock().unwrap().copy_from_slice(&[0.5, f64::NAN]);
    segment
}

/// A creator that [`killed_creator`] starts as a program. As a test it does nothing.
#[test]
fn creator() {
    let Ok(name) = std::env::var(CREATED) else { return };
    let _segment = segment(&SegmentName::new(&name).unwrap());
    println!("\nready");
    loop {
        std::thread::park();
    }
}

/// Starts a creator and waits until its segment is ready.
fn living_creator(name: &SegmentName) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "creator", "--nocapture"]).env(CREATED, name.as_str());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    child
}

/// Creates a segment whose creator is killed, with SIGKILL.
fn killed_creator(name: &SegmentName) {
    let mut child = living_creator(name);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns the line of `shm ls` with this name.
fn row(listed: &str, name: &SegmentName) -> Option<Vec<String>> {
    let named = listed.lines().find(|line| line.starts_with(&format!("/{name} ")))?;
    Some(named.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn ls_lists_every_segment_with_its_state() {
    let (alive, stale) = (unique_name(), unique_name());
    let segment = segment(&alive);
    killed_creator(&stale);
    let (code, listed, errors) = shm(&["ls"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let bytes = fs::metadata(alive.path()).unwrap().len().to_string();
    let of_alive = row(&listed, &alive).unwrap();
    assert_eq!(of_alive[2..4], ["600".to_owned(), bytes]);
    let own = std::process::id();
    assert_eq!(of_alive[5..].join(" "), format!("alive (creator {own})"));
    assert_eq!(row(&listed, &stale).unwrap()[4..], ["0", "stale"]);
    assert!(!listed.contains("winners"), "{listed}");

    let (code, listed, _) = shm(&["ls", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let of = |name: &SegmentName| listed.iter().find(|it| it["name"] == name.as_str()).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(
        (&of(&alive)["creator"], &of(&alive)["creator_is_alive"]),
        (&json!(own), &json!(true))
    );
    assert_eq!(of(&alive)["generation"], json!(segment.generation()));
    assert_eq!((&of(&stale)["stale"], &of(&stale)["attached"]), (&json!(true), &json!([])));
    assert_eq!(shm(&["rm", stale.as_str()]), (Some(0), String::new(), String::new()));
    assert!(row(&shm(&["ls"]).1, &stale).is_none());
}

#[test]
fn show_prints_what_every_object_holds() {
    let name = unique_name();
    let segment = segment(&name);
    let lock = segment.lock("lock").unwrap();
    let _guard = lock.lock().unwrap();
    let thread = lock.holder().unwrap();
    for argument in [name.to_string(), format!("/{name}")] {
        let (code, shown, errors) = shm(&["show", &argument]);
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        for line in [
            format!("    lock Lock u8 0 held by {thread}"),
            format!("    winners Value u64 1 {}", u64::MAX),
            "    numbers RawArray i16 3 [0, -7, 0]".to_owned(),
            "    floats Array f64 2 [0.5, NaN]".to_owned(),
            "    done Event u32 1 unset".to_owned(),
            "agencies Array u8 16 [{bets: 0, at: [0, 0]}, {bets: 9, at: [-1, 2]}]".to_owned(),
        ] {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_shown = |it: &str| it.split_whitespace().eq(words.iter().copied());
            assert!(shown.lines().any(is_shown), "{line} in {shown}");
        }
    }
    let (code, shown, _) = shm(&["show", name.as_str(), "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let elements: Vec<_> = (0..6).map(|index| &shown["objects"][index]["elements"]).collect();
    let expected = [
        json!([]),
        json!([u64::MAX]),
        json!([0, -7, 0]),
        json!([0.5, null]),
        json!([]),
        json!([{"bets": 0, "at": [0, 0]}, {"bets": 9, "at": [-1, 2]}]),
    ];
    assert_eq!((code, elements), (Some(0), expected.iter().collect()));
    assert_eq!(shown["objects"][0]["holder"], json!(thread.as_raw()));
    assert_eq!(shown["objects"][4]["state"], json!("unset"));
}

#[test]
fn rm_refuses_a_segment_whose_creator_lives_unless_it_is_forced() {
    let name = unique_name();
    let mut child = living_creator(&name);
    let opened = Segment::open(&name).unwrap();
    let (code, output, errors) = shm(&["rm", name.as_str()]);
    assert_eq!((code, output.as_str()), (Some(1), ""));
    let by = format!("in use by the living process {}", child.id());
    assert!(errors.contains(&by) && errors.contains("--force"), "{errors}");
    assert!(name.path().exists());

    assert_eq!(shm(&["rm", "--force", name.as_str()]), (Some(0), String::new(), String::new()));
    assert!(!name.path().exists() && child.try_wait().unwrap().is_none());
    // A program that opened it learns of that, also in the middle of a wait.
    let begun = Instant::now();
    assert!(opened.event("done").is_err() && opened.ensure_current().is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn every_failure_is_one_line_and_exit_code_1() {
    let (missing, foreign, damaged) = (unique_name(), unique_name(), unique_name());
    fs::write(foreign.path(), [7; 4096]).unwrap();
    let segment = segment(&damaged);
    let mut bytes = fs::read(damaged.path()).unwrap();
    drop(segment);
    bytes[24..28].fill(0xff);
    fs::write(damaged.path(), bytes).unwrap();
    fs::set_permissions(damaged.path(), Permissions::from_mode(0o600)).unwrap();
    for (arguments, reason) in [
        (["show", missing.as_str()].as_slice(), "there is no shared memory"),
        (&["rm", missing.as_str()], "there is no shared memory"),
        (&["rm", "--force", missing.as_str()], "there is no shared memory"),
        (&["show", foreign.as_str()], "is not a segment of this library"),
        (&["rm", foreign.as_str()], "mode 644"),
        (&["rm", "--force", foreign.as_str()], "is not a segment of this library"),
        (&["show", damaged.as_str()], "header does not fit"),
        (&["rm", damaged.as_str()], "header does not fit"),
    ] {
        let (code, _, errors) = shm(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {errors}");
        assert!(errors.starts_with("shm: ") && errors.contains(reason), "{arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
    }
    assert!(foreign.path().exists());
    // What is damaged can be removed by force. The rest is done all the same.
    let (code, _, errors) = shm(&["rm", "--force", missing.as_str(), damaged.as_str()]);
    assert_eq!((code, errors.lines().count()), (Some(1), 1));
    assert!(!damaged.path().exists());
    fs::remove_file(foreign.path()).unwrap();
}

#[test]
fn wrong_arguments_are_exit_code_2() {
    for arguments in
        [&["show"][..], &["show", "a/b"], &["rm"], &["list"], &["--group", "no such", "ls"]]
    {
        assert_eq!(shm(arguments).0, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_segment_of_a_group_needs_the_option() {
    let name = unique_name();
    let group = nix::unistd::getegid();
    let options = multiprocessing::SegmentOptions::new().group(group);
    let _segment = options.create(&name, &Plan::new().lock("lock")).unwrap();
    let (code, shown, errors) = shm(&["show", name.as_str()]);
    assert_eq!(code, Some(1));
    assert!(shown.contains("unreadable") && errors.contains("mode 660"), "{shown}{errors}");
    let (code, shown, _) = shm(&["show", name.as_str(), "--group", &group.to_string()]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("free"), "{shown}");
}

#[test]
fn a_reader_of_the_output_that_ends_early_is_no_error() {
    let name = unique_name();
    let plan = (0..2000).fold(Plan::new(), |plan, number| plan.lock(&format!("lock{number}")));
    let _segment = Segment::create(&name, &plan).unwrap();
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm"));
    let status = command.args(["show", name.as_str()]).stdout(write).status().unwrap();
    assert!(status.success(), "{status}");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
