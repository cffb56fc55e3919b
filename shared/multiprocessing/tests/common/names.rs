//! Names of segments, all derived from the one that the starting process chose, so that it finds
//! what is left of them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use multiprocessing::{Plan, Segment, SegmentName};

/// The environment variable with the segment name of a test or program.
pub const NAME: &str = "TEST_SEGMENT";

fn given_name() -> Option<String> {
    std::env::var(NAME).ok()
}

/// Returns the segment name of this test or program.
pub fn name() -> SegmentName {
    SegmentName::new(&given_name().unwrap()).unwrap()
}

/// Creates the segment of this test or program.
pub fn segment(plan: &Plan) -> Segment {
    Segment::create(&name(), plan).unwrap()
}

/// Returns a segment name that no other test uses.
pub fn unique_name() -> SegmentName {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let start = given_name().unwrap_or_else(|| format!("mp-test.{}", std::process::id()));
    SegmentName::new(&format!("{start}.{number}")).unwrap()
}

/// Writes an entry of `/dev/shm` by hand, with the mode of a segment.
pub fn write_entry(name: &SegmentName, bytes: impl AsRef<[u8]>) {
    let options = File::options().write(true).create(true).truncate(true).mode(0o600).clone();
    options.open(name.path()).unwrap().write_all(bytes.as_ref()).unwrap();
}
