//! Segments seen from Python, and segments that Python made, with the real interpreter.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{
    Probe, is_gone, python, python_lines, read_segment, running_python, unique_name, wait_until,
};
use multiprocessing::{AtomicElement, ObjectKind, Plan, Segment, SegmentError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running probe whose segment has something of every kind, and two objects that change all the time.
fn exhibit() -> Probe {
    let mut probe = Probe::start(&["segment-exhibit"]);
    probe.line("ready");
    probe
}

/// What the reader prints of the exhibit, without what changes.
const STILL: [&str; 22] = [
    "lock\tLock\tu8\t0\t-",
    "value\tValue\tu64\t1\t18446744073709551615",
    "triple\tValue\ti16\t3\t[-1, 0, 1]",
    "float\tValue\tf64\t1\t-1.5",
    "raw\tRawValue\ti64\t1\t-9223372036854775808",
    "floats\tArray\tf64\t2\t[0.0, -0.5]",
    "halves\tArray\tf32\t1\t[0.25]",
    "bytes\tRawArray\tu8\t3\t[0, 0, 255]",
    "odd\tValue\tu8\t5\t[0, 0, 0, 0, 4]",
    "none\tArray\tu16\t0\t[]",
    "i8\tRawArray\ti8\t1\t[-128]",
    "u16\tRawArray\tu16\t1\t[65535]",
    "u32\tRawArray\tu32\t1\t[4294967295]",
    "i32\tRawValue\ti32\t1\t-7",
    "rlock\tRLock\tu8\t0\t-",
    "gate\tSemaphore\tu64\t5\t-",
    "bounded\tBoundedSemaphore\tu64\t5\t-",
    "event\tEvent\tu32\t1\t-",
    "changed\tCondition\tu64\t5\t-",
    "meet\tBarrier\tu64\t5\t-",
    "letters\tQueue\tu64\t3\t-",
    "tasks\tJoinableQueue\tu64\t4\t-",
];

/// The elements the reader printed of the last object, `changing`.
fn changing(lines: &[String]) -> Vec<u64> {
    let list = lines.last().unwrap().strip_prefix("changing\tValue\tu64\t64\t[").unwrap();
    list.trim_end_matches(']').split(", ").map(|number| number.parse().unwrap()).collect()
}

#[test]
fn python_reads_every_kind_and_type_of_a_live_segment_by_name() {
    let probe = exhibit();
    let lines = read_segment(probe.name.as_str());
    assert_eq!(lines[..STILL.len()], STILL);
    assert_eq!(lines.len(), STILL.len() + 2);
    assert!(changing(&lines).iter().all(|word| *word == changing(&lines)[0]));
}

#[test]
fn python_never_sees_half_a_change_of_a_value_that_is_being_changed() {
    let probe = exhibit();
    let script = "
import sys, time
from read_segment import attach, directory, read
memory = attach(sys.argv[1])
objects = directory(memory.buf)
seen, flickers, last, end = set(), set(), 0, time.monotonic() + 20
while (len(seen) < 2000 or len(flickers) < 2) and time.monotonic() < end:
    words = read(memory.buf, objects['changing'])
    assert len(words) == 64 and len(set(words)) == 1, words
    assert words[0] >= last
    last = words[0]
    seen.add(last)
    flickers.add(read(memory.buf, objects['flicker']))
memory.close()
print(len(seen), sorted(flickers))
";
    let lines = python_lines(&["-c", script, probe.name.as_str()]);
    let (distinct, flickers) = lines[0].split_once(' ').unwrap();
    assert!(distinct.parse::<u32>().unwrap() >= 2000, "it hardly changed: {lines:?}");
    assert_eq!(flickers, "[0, 18446744073709551615]");
}

#[test]
fn python_reads_a_segment_whose_creator_was_killed_while_changing_it() {
    for _ in 0..5 {
        let mut probe = exhibit();
        probe.signal(Signal::SIGKILL);
        probe.wait();
        let lines = read_segment(probe.name.as_str());
        assert_eq!(lines[..STILL.len()], STILL);
        let words = changing(&lines);
        assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
        // Once more: the first reader has left everything where it was.
        assert_eq!(read_segment(probe.name.as_str()), lines);
        wait_until("the entry is reclaimed", || matches!(Segment::reclaim(&probe.name), Ok(true)));
    }
}

/// The children of a process that has one thread.
fn children_of(pid: Pid) -> Vec<Pid> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    listed.split_whitespace().map(common::parse_pid).collect()
}

#[test]
fn python_that_reads_never_removes_a_segment_also_when_it_is_killed() {
    let mut reader = running_python(
        "
import os, time
from read_segment import attach
while True:
    try:
        memory = attach(os.environ['PROBE_NAME'])
        break
    except (FileNotFoundError, ValueError):  # not there yet, or of no size yet
        time.sleep(0.001)
print('attached', flush=True)
time.sleep(60)
",
    );
    let segment = Segment::create(&reader.name, &Plan::new().value::<u64>("value")).unwrap();
    reader.line("attached");
    // Before 3.13 a helper process of Python's would remove the entry afterwards.
    assert_eq!(children_of(reader.pid()), []);
    reader.signal(Signal::SIGKILL);
    reader.wait();
    assert_eq!(read_segment(reader.name.as_str()), ["value\tValue\tu64\t1\t0"]);
    assert!(reader.name.path().exists());
    drop(segment);
    assert!(!reader.name.path().exists());
}

#[test]
fn python_that_has_no_memory_to_map_a_segment_does_not_remove_it() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().raw_array::<u8>("bytes", 32 << 20)).unwrap();
    let script = "
import errno, resource, sys
from read_segment import attach
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 ** 23, used + 2 ** 23))
try:
    attach(sys.argv[1])
except OSError as error:
    print(errno.errorcode[error.errno])
";
    assert_eq!(python_lines(&["-c", script, name.as_str()]), ["ENOMEM"]);
    assert!(name.path().exists());
    drop(segment);
}

#[test]
fn python_refuses_what_is_no_segment_in_one_line() {
    let name = unique_name();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/read_segment.py");
    let refusal = |name: &str| {
        let output = python(&[script, name]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refusal(name.as_str()).contains("No such file"));
    let segment = Segment::create(&name, &Plan::new().raw_array::<u64>("numbers", 2)).unwrap();
    let good = fs::read(name.path()).unwrap();
    drop(segment);
    let altered = |offset: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[offset] = byte;
        bytes
    };
    let cases = [
        ("too short", b"short".to_vec()),
        ("no segment", vec![7; 4096]),
        ("layout version 1; this program reads version 2", altered(8, 1)),
        ("no segment", altered(12, 0)),
        ("does not fit", altered(24, 2)),
        ("does not fit", good[..good.len() - 1].to_vec()),
        ("'numbers' is not inside", altered(128 + 40, 200)),
        ("'numbers' is not inside", altered(128 + 50, 1)),
    ];
    for (reason, bytes) in cases {
        fs::write(name.path(), bytes).unwrap();
        let message = refusal(name.as_str());
        assert!(message.contains(reason) && message.lines().count() == 1, "{message} for {reason}");
    }
    fs::remove_file(name.path()).unwrap();
}

/// Python makes a segment with the highest or the lowest number of every type, and then does what `body` says.
fn written_by_python(body: &str) -> Probe {
    let script = format!(
        "
import os, time
from write_segment import WrittenSegment
types = ('u8', 'u16', 'u32', 'u64', 'i8', 'i16', 'i32', 'i64')
plan = [(name, 'RawValue', name, 1) for name in types]
plan += [('many', 'RawArray', 'i32', 5), ('done', 'RawValue', 'u8', 1)]
with WrittenSegment(os.environ['PROBE_NAME'], plan) as segment:
    for name in types:
        bits = int(name[1:])
        segment[name][0] = 2 ** bits - 1 if name[0] == 'u' else -(2 ** (bits - 1))
    segment['many'][4] = -1
    print('ready', flush=True)
{body}
"
    );
    let mut probe = running_python(&script);
    probe.line("ready");
    probe
}

const UNTIL_DONE: &str = "
    while not segment['done'][0]:
        time.sleep(0.001)
    print('seen', segment['many'].tolist(), segment['u64'][0])";

fn check<T: AtomicElement + PartialEq + std::fmt::Debug>(
    segment: &Segment,
    name: &str,
    expected: T,
) {
    assert_eq!(segment.raw_value::<T>(name).unwrap().load(), expected);
}

#[test]
fn a_segment_that_python_made_is_opened_read_and_written() {
    let mut probe = written_by_python(UNTIL_DONE);
    let segment = Segment::open(&probe.name).unwrap();
    assert_eq!((segment.creator(), segment.creator_is_alive()), (probe.pid(), true));
    assert!(segment.created().elapsed().unwrap().as_secs() < 60);
    check(&segment, "u8", u8::MAX);
    check(&segment, "u16", u16::MAX);
    check(&segment, "u32", u32::MAX);
    check(&segment, "u64", u64::MAX);
    check(&segment, "i8", i8::MIN);
    check(&segment, "i16", i16::MIN);
    check(&segment, "i32", i32::MIN);
    check(&segment, "i64", i64::MIN);
    assert!(matches!(segment.raw_value::<i64>("u64"), Err(SegmentError::Object { .. })));
    let many = segment.raw_array::<i32>("many").unwrap();
    assert_eq!(many.iter().collect::<Vec<_>>(), [0, 0, 0, 0, -1]);
    assert!(segment.objects().iter().all(|object| object.kind != ObjectKind::Value));
    // The reader understands it too.
    assert!(
        read_segment(probe.name.as_str())
            .contains(&"many\tRawArray\ti32\t5\t[0, 0, 0, 0, -1]".to_owned())
    );

    many.store(1, -7);
    many.fetch_add(4, 3);
    segment.raw_value::<u64>("u64").unwrap().fetch_sub(5);
    segment.raw_value::<u8>("done").unwrap().store(1);
    assert_eq!(probe.line("seen "), format!("[0, -7, 0, 0, 2] {}", u64::MAX - 5));
    // It ends well and takes its entry with it.
    probe.succeed();
    // Whoever has the memory keeps it.
    assert_eq!(many.load(1), -7);
}

#[test]
fn a_number_that_python_writes_is_never_torn() {
    let probe = written_by_python(
        "
    number = segment['u64']
    while True:
        number[0] = 0
        number[0] = 2 ** 64 - 1",
    );
    let number = Segment::open(&probe.name).unwrap().raw_value::<u64>("u64").unwrap();
    let mut seen = [0_u32; 2];
    while seen.iter().any(|times| *times < 1000) {
        match number.load() {
            0 => seen[0] += 1,
            u64::MAX => seen[1] += 1,
            torn => panic!("{torn:#x}"),
        }
    }
}

#[test]
fn a_segment_of_a_living_python_is_not_reclaimed_and_that_of_a_dead_one_is() {
    let mut probe = written_by_python(UNTIL_DONE);
    let refused = Segment::reclaim(&probe.name);
    let python_pid = probe.pid().as_raw().cast_unsigned();
    assert!(
        matches!(refused, Err(SegmentError::InUse { creator, .. }) if creator == python_pid),
        "{refused:?}"
    );
    // Without the helper that would clean up after it.
    let helpers = children_of(probe.pid());
    helpers.iter().for_each(|helper| kill(*helper, Signal::SIGKILL).unwrap());
    wait_until("the helper is gone", || helpers.iter().all(|helper| is_gone(*helper)));
    probe.signal(Signal::SIGKILL);
    probe.wait();
    assert!(probe.name.path().exists());
    assert!(!Segment::open(&probe.name).unwrap().creator_is_alive());
    wait_until("the entry is reclaimed", || matches!(Segment::reclaim(&probe.name), Ok(true)));
}

#[test]
fn python_makes_no_segment_of_what_it_cannot_make() {
    let name = unique_name();
    let script = "
import sys
from write_segment import WrittenSegment
plans = [
    [('a', 'Value', 'u64', 1)], [('a', 'Array', 'u64', 1)], [('a', 'Lock', 'u8', 0)],
    [('a', 'RawValue', 'f64', 1)], [('a', 'RawValue', 'u64', 2)], [('a', 'RawArray', 'u64', 0)],
    [('a', 'RawArray', 'u128', 1)], [('', 'RawValue', 'u8', 1)], [('x' * 32, 'RawValue', 'u8', 1)],
    [('a', 'RawValue', 'u8', 1)] * 2,
]
for plan in plans:
    try:
        WrittenSegment(sys.argv[1], plan)
    except ValueError as error:
        print(error)
";
    let lines = python_lines(&["-c", script, name.as_str()]);
    assert_eq!(lines.len(), 10, "{lines:?}");
    assert!(!name.path().exists());
}
