//! Segments read and made by the real Python interpreter.

use std::fs;

use multiprocessing::{AtomicElement, ObjectKind, Plan, Segment, SegmentError, Shareable};
use nix::sys::signal::Signal;

use crate::common::{
    PACKAGE, Program, apply, children_of, fact, needs_python, program, python, python_lines,
    read_segment, running_python, segment, test, unique_name, wait_until, write_entry,
};

/// Starts a program whose segment has an object of every kind, two of which change all the time.
fn running_exhibit() -> Program {
    let mut program = Program::start(exhibit, &[]);
    program.line("ready");
    program
}

/// What the package prints of the objects that do not change. `PID` stands for the program.
const STILL: [&str; 27] = [
    "lock\tLock\tu8\t0\t{\"holder\": PID, \"recoveries\": 0}",
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
    "rlock\tRLock\tu8\t0\t{\"holder\": PID, \"recoveries\": 0, \"depth\": 2}",
    "gate\tSemaphore\tu64\t5\t{\"free\": 1, \"most\": 2147483647, \"recovered\": 0, \"held\": {\"PID\": 1}}",
    "bounded\tBoundedSemaphore\tu64\t5\t{\"free\": 2, \"most\": 2, \"recovered\": 0, \"held\": {}}",
    "event\tEvent\tu32\t1\ttrue",
    "changed\tCondition\tu64\t5\t{\"waiting\": [], \"notified\": []}",
    "meet\tBarrier\tu64\t5\t{\"parties\": 2, \"arrived\": 0, \"broken\": \"aborted\", \"members\": []}",
    "letters\tQueue\tu64\t3\t{\"messages\": [3, 4], \"capacity\": 3, \"closed\": true}",
    "tasks\tJoinableQueue\tu8\t64\t{\"messages\": [{\"id\": 8, \"at\": [3, 4]}], \"capacity\": 4, \
     \"closed\": false, \"unfinished\": 2, \"lost\": 0, \"in_progress\": {\"PID\": 1}}",
    "task\tValue\tu8\t12\t{\"id\": 7, \"at\": [1, 2]}",
    "all\tArray\tu8\t24\t[{\"id\": 0, \"at\": [0, 0]}, {\"id\": 7, \"at\": [1, 2]}]",
    "pair\tValue\tu64\t2\t{\"a\": 5, \"b\": {\"c\": 6}}",
    "pairs\tQueue\tu64\t2\t{\"messages\": [{\"a\": 1, \"b\": {\"c\": 2}}], \"capacity\": 1, \"closed\": false}",
    "texts\tMessageQueue\tu8\t32\t{\"messages\": [[], [72, 105]], \"capacity\": 20, \"closed\": false}",
];

/// A structure of different numbers, with bytes as its elements.
#[derive(Clone, Copy, Debug, Shareable)]
#[repr(C)]
struct Errand {
    id: u32,
    at: [i32; 2],
}

/// A structure of equal numbers, one of which is in another structure.
#[derive(Clone, Copy, Debug, Shareable)]
#[repr(C)]
struct Pair {
    a: u64,
    b: Inner,
}

#[derive(Clone, Copy, Debug, Shareable)]
#[repr(C)]
struct Inner {
    c: u64,
}

/// Returns what the package prints of the objects of this program that do not change.
fn still(program: &Program) -> Vec<String> {
    STILL.iter().map(|line| line.replace("PID", &program.pid().to_string())).collect()
}

/// Returns the elements that the reader printed of the last object, `changing`.
fn changing(lines: &[String]) -> Vec<u64> {
    let list = lines.last().unwrap().strip_prefix("changing\tValue\tu64\t64\t[").unwrap();
    list.trim_end_matches(']').split(", ").map(|number| number.parse().unwrap()).collect()
}

#[apply(test)]
fn python_reads_every_kind_and_type_of_a_live_segment_by_name() {
    needs_python();
    let program = running_exhibit();
    let lines = read_segment(program.name.as_str());
    assert_eq!(lines[..STILL.len()], still(&program));
    assert_eq!(lines.len(), STILL.len() + 2);
    assert!(changing(&lines).iter().all(|word| *word == changing(&lines)[0]));
}

#[apply(test)]
fn the_tests_of_the_package_pass() {
    needs_python();
    let output = python(&["-m", "unittest", "discover", "-s", PACKAGE, "-t", PACKAGE]);
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && report.ends_with("OK\n"), "{report}");
    assert!(!report.contains("Ran 0 tests"), "{report}");
}

/// A new kind needs a row in the table of the package, and one in its README.
#[apply(test)]
fn the_package_decodes_every_kind_of_the_library() {
    needs_python();
    let script = "import shm_multiprocessing.kinds as it; print(*it.KINDS, *it.BY_NAME)";
    let known = python_lines(&["-c", script]).concat();
    let table = include_str!("../../src/memory/layout/kind.rs");
    let readme = include_str!("../../python/README.md");
    let rows = table.lines().filter_map(|line| line.trim().split_once(": "));
    let kinds: Vec<_> = rows
        .filter(|(code, _)| code.parse::<u32>().is_ok())
        .map(|(code, rest)| {
            let kind = rest.split("::").nth(1).unwrap().split([',', '<']).next().unwrap();
            (code, kind)
        })
        .collect();
    let words: Vec<_> = known.split(' ').collect();
    assert!(kinds.len() >= 13 && words.len() == 2 * kinds.len(), "{kinds:?} {words:?}");
    for (code, kind) in kinds {
        assert!(words.contains(&code) && words.contains(&kind), "{kind}");
        assert!(readme.contains(&format!("`{kind}`")), "{kind} is not in the README");
    }
}

#[apply(test)]
fn python_never_sees_a_torn_value() {
    needs_python();
    let program = running_exhibit();
    let script = "
import sys, time
from shm_multiprocessing import Segment
segment = Segment(sys.argv[1])
seen, flickers, last, end = set(), set(), 0, time.monotonic() + 20
while (len(seen) < 2000 or len(flickers) < 2) and time.monotonic() < end:
    words = segment['changing']
    assert len(words) == 64 and len(set(words)) == 1, words
    assert words[0] >= last
    last = words[0]
    seen.add(last)
    flickers.add(segment['flicker'])
segment.close()
print(len(seen), sorted(flickers))
";
    let lines = python_lines(&["-c", script, program.name.as_str()]);
    let (distinct, flickers) = lines[0].split_once(' ').unwrap();
    assert!(distinct.parse::<u32>().unwrap() >= 2000, "it hardly changed: {lines:?}");
    assert_eq!(flickers, "[0, 18446744073709551615]");
}

#[apply(test)]
fn python_reads_a_segment_whose_creator_was_killed_while_changing_it() {
    needs_python();
    for _ in 0..5 {
        let mut program = running_exhibit();
        program.signal(Signal::SIGKILL);
        program.wait();
        let lines = read_segment(program.name.as_str());
        // The kernel has freed its locks.
        let freed = |line: String| match line.split_once("\"holder\": ") {
            Some((start, rest)) => {
                format!("{start}\"holder\": null{}", &rest[rest.find(',').unwrap()..])
            }
            None => line,
        };
        assert_eq!(
            lines[..STILL.len()],
            still(&program).into_iter().map(freed).collect::<Vec<_>>()
        );
        let words = changing(&lines);
        assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
        // A second reader sees the same, because the first one changed nothing.
        assert_eq!(read_segment(program.name.as_str()), lines);
        wait_until("the entry is reclaimed", || {
            matches!(Segment::reclaim(&program.name), Ok(true))
        });
    }
}

#[apply(test)]
fn a_python_reader_never_removes_a_segment_even_when_it_is_killed() {
    needs_python();
    let mut reader = running_python(
        "
import os, time
from shm_multiprocessing import Segment
while True:
    try:
        segment = Segment(os.environ['TEST_SEGMENT'])
        break
    except (FileNotFoundError, ValueError):  # not there yet, or of no size yet
        time.sleep(0.001)
print('attached', flush=True)
time.sleep(60)
",
    );
    let segment = Segment::create(&reader.name, &Plan::new().value::<u64>("value")).unwrap();
    reader.line("attached");
    // The standard class starts a helper process, which would remove the entry afterwards.
    assert_eq!(children_of(reader.pid()), []);
    reader.signal(Signal::SIGKILL);
    reader.wait();
    assert_eq!(read_segment(reader.name.as_str()), ["value\tValue\tu64\t1\t0"]);
    assert!(reader.name.path().exists());
    drop(segment);
    assert!(!reader.name.path().exists());
}

#[apply(test)]
fn python_that_has_no_memory_to_map_a_segment_does_not_remove_it() {
    needs_python();
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().raw_array::<u8>("bytes", 32 << 20)).unwrap();
    let script = "
import errno, resource, sys
from shm_multiprocessing import Segment
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 ** 23, used + 2 ** 23))
try:
    Segment(sys.argv[1])
except OSError as error:
    print(errno.errorcode[error.errno])
";
    assert_eq!(python_lines(&["-c", script, name.as_str()]), ["ENOMEM"]);
    assert!(name.path().exists());
    drop(segment);
}

#[apply(test)]
fn python_refuses_a_foreign_file_with_one_line() {
    needs_python();
    let name = unique_name();
    let refusal = |name: &str| {
        let output = python(&["-m", "shm_multiprocessing", name]);
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
        ("layout version 1; this program reads version 3", altered(8, 1)),
        ("no segment", altered(12, 0)),
        ("does not fit", altered(24, 2)),
        ("does not fit", good[..good.len() - 1].to_vec()),
        ("is removed", altered(12, 2)),
        ("'numbers' is not inside", altered(128 + 40, 200)),
        ("'numbers' is not inside", altered(128 + 50, 1)),
    ];
    for (reason, bytes) in cases {
        write_entry(&name, bytes);
        let message = refusal(name.as_str());
        assert!(message.contains(reason) && message.lines().count() == 1, "{message} for {reason}");
    }
    fs::remove_file(name.path()).unwrap();
}

/// Starts a Python program that makes a segment with the highest or lowest number of every type,
/// and then runs `body`.
fn written_by_python(body: &str) -> Program {
    let script = format!(
        "
import os, time
from shm_multiprocessing import WrittenSegment
types = ('u8', 'u16', 'u32', 'u64', 'i8', 'i16', 'i32', 'i64')
plan = [(name, 'RawValue', name, 1) for name in types]
plan += [('many', 'RawArray', 'i32', 5), ('done', 'RawValue', 'u8', 1)]
with WrittenSegment(os.environ['TEST_SEGMENT'], plan) as segment:
    for name in types:
        bits = int(name[1:])
        segment[name][0] = 2 ** bits - 1 if name[0] == 'u' else -(2 ** (bits - 1))
    segment['many'][4] = -1
    print('ready', flush=True)
{body}
"
    );
    let mut program = running_python(&script);
    program.line("ready");
    program
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

#[apply(test)]
fn a_segment_made_by_python_is_opened_read_and_written() {
    needs_python();
    let mut program = written_by_python(UNTIL_DONE);
    let segment = Segment::open(&program.name).unwrap();
    assert_eq!((segment.creator(), segment.creator_is_alive()), (program.pid(), true));
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
    // The reader understands the segment, too.
    assert!(
        read_segment(program.name.as_str())
            .contains(&"many\tRawArray\ti32\t5\t[0, 0, 0, 0, -1]".to_owned())
    );

    many.store(1, -7);
    many.fetch_add(4, 3);
    segment.raw_value::<u64>("u64").unwrap().fetch_sub(5);
    segment.raw_value::<u8>("done").unwrap().store(1);
    assert_eq!(program.line("seen "), format!("[0, -7, 0, 0, 2] {}", u64::MAX - 5));
    // The program ends well and removes its entry.
    program.succeed();
    // A process that has the memory keeps it.
    assert_eq!(many.load(1), -7);
}

#[apply(test)]
fn a_number_that_python_writes_is_never_torn() {
    needs_python();
    let program = written_by_python(
        "
    number = segment['u64']
    while True:
        number[0] = 0
        number[0] = 2 ** 64 - 1",
    );
    let number = Segment::open(&program.name).unwrap().raw_value::<u64>("u64").unwrap();
    let mut seen = [0_u32; 2];
    while seen.iter().any(|times| *times < 1000) {
        match number.load() {
            0 => seen[0] += 1,
            u64::MAX => seen[1] += 1,
            torn => panic!("{torn:#x}"),
        }
    }
}

#[apply(test)]
fn a_segment_of_a_dead_python_process_is_reclaimed_and_that_of_a_living_one_is_not() {
    needs_python();
    let mut program = written_by_python(UNTIL_DONE);
    let refused = Segment::reclaim(&program.name);
    let python_pid = program.pid().as_raw().cast_unsigned();
    assert!(
        matches!(refused, Err(SegmentError::InUse { creator, .. }) if creator == python_pid),
        "{refused:?}"
    );
    program.signal(Signal::SIGKILL);
    program.wait();
    assert!(program.name.path().exists());
    assert!(!Segment::open(&program.name).unwrap().creator_is_alive());
    wait_until("the entry is reclaimed", || matches!(Segment::reclaim(&program.name), Ok(true)));
}

#[apply(test)]
fn python_refuses_to_make_a_segment_that_it_cannot_make() {
    needs_python();
    let name = unique_name();
    let script = "
import sys
from shm_multiprocessing import WrittenSegment
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

/// Has an object of every kind and type, two of which change all the time, until it is killed.
#[apply(program)]
fn exhibit(_: &[&str]) {
    let plan = Plan::new()
        .lock("lock")
        .value::<u64>("value")
        .value::<[i16; 3]>("triple")
        .value::<f64>("float");
    let plan = plan.raw_value::<i64>("raw").array::<f64>("floats", 2).array::<f32>("halves", 1);
    let plan = plan.raw_array::<u8>("bytes", 3).value::<[u8; 5]>("odd").array::<u16>("none", 0);
    let plan = plan.raw_array::<i8>("i8", 1).raw_array::<u16>("u16", 1).raw_array::<u32>("u32", 1);
    let plan = plan.raw_value::<i32>("i32").rlock("rlock").participants(5).semaphore("gate", 2);
    let plan = plan
        .bounded_semaphore("bounded", 2)
        .event("event")
        .condition("changed")
        .barrier("meet", 2)
        .queue::<u64>("letters", 3)
        .joinable_queue::<Errand>("tasks", 4);
    let plan = plan.value::<Errand>("task").array::<Errand>("all", 2).value::<Pair>("pair");
    let plan = plan.queue::<Pair>("pairs", 1).message_queue("texts", 20);
    let segment = segment(&plan.raw_value::<u64>("flicker").value::<[u64; 64]>("changing"));
    segment.value::<u64>("value").unwrap().set(u64::MAX).unwrap();
    segment.value::<[i16; 3]>("triple").unwrap().set([-1, 0, 1]).unwrap();
    segment.value::<f64>("float").unwrap().set(-1.5).unwrap();
    segment.raw_value::<i64>("raw").unwrap().store(i64::MIN);
    segment.array::<f64>("floats").unwrap().lock().unwrap()[1] = -0.5;
    segment.array::<f32>("halves").unwrap().lock().unwrap()[0] = 0.25;
    segment.raw_array::<u8>("bytes").unwrap().store(2, 255);
    segment.value::<[u8; 5]>("odd").unwrap().update(|bytes| bytes[4] = 4).unwrap();
    segment.raw_array::<i8>("i8").unwrap().store(0, -128);
    segment.raw_array::<u16>("u16").unwrap().store(0, 65_535);
    segment.raw_array::<u32>("u32").unwrap().store(0, 4_294_967_295);
    segment.raw_value::<i32>("i32").unwrap().store(-7);
    let lock = segment.lock("lock").unwrap();
    let rlock = segment.rlock("rlock").unwrap();
    let _held = (lock.lock().unwrap(), rlock.lock().unwrap(), rlock.lock().unwrap());
    let _permit = segment.semaphore("gate").unwrap().acquire().unwrap();
    segment.event("event").unwrap().set();
    segment.barrier("meet").unwrap().abort().unwrap();
    let letters = segment.queue::<u64>("letters").unwrap();
    (1..=3).for_each(|letter| letters.put(letter).unwrap());
    assert_eq!((letters.get(), letters.get(), letters.put(4)), (Ok(1), Ok(2), Ok(())));
    letters.close().unwrap();
    let tasks = segment.joinable_queue::<Errand>("tasks").unwrap();
    let errand = Errand { id: 7, at: [1, 2] };
    tasks.put(errand).unwrap();
    tasks.put(Errand { id: 8, at: [3, 4] }).unwrap();
    let _in_progress = tasks.get().unwrap();
    segment.value::<Errand>("task").unwrap().set(errand).unwrap();
    segment.array::<Errand>("all").unwrap().lock().unwrap()[1] = errand;
    segment.value::<Pair>("pair").unwrap().set(Pair { a: 5, b: Inner { c: 6 } }).unwrap();
    let pair = Pair { a: 1, b: Inner { c: 2 } };
    segment.queue::<Pair>("pairs").unwrap().put(pair).unwrap();
    let texts = segment.message_queue("texts").unwrap();
    [&b""[..], b"Hi"].iter().for_each(|text| texts.put_bytes(text).unwrap());
    let flicker = segment.raw_value::<u64>("flicker").unwrap();
    let changing = segment.value::<[u64; 64]>("changing").unwrap();
    fact("ready", 1);
    loop {
        // Two numbers without a common byte.
        flicker.store(!flicker.load());
        changing.update(|words| words.iter_mut().for_each(|word| *word += 1)).unwrap();
    }
}
