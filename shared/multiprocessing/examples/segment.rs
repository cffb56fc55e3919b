//! A segment that another program opens by name. The directory of the segment describes the rest.
//! Run it with `cargo run -p shm-multiprocessing --example segment`.

use std::process::Command;

use multiprocessing::{Plan, Segment, SegmentName};

/// Creates a segment and starts another program.
fn make() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-segment.{}", std::process::id()))?;
    let plan = Plan::new().value::<u64>("winners").raw_array::<i16>("temperatures", 3).lock("lock");
    let segment = Segment::create(&name, &plan)?;
    let winners = segment.value::<u64>("winners")?;
    winners.set(41)?;

    // This program again, but it could be any other: it inherits nothing, not even the memory.
    let other = Command::new(std::env::current_exe()?).arg(name.as_str()).status()?;
    println!("the other program: {other}");
    println!("winners: {}", winners.get());
    drop(segment);
    println!("{} is there: {}", name.path().display(), name.path().exists());
    Ok(())
}

/// The other program.
fn open(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let segment = Segment::open(&SegmentName::new(name)?)?;
    println!("its creator lives: {}", segment.creator_is_alive());
    for object in segment.objects() {
        println!("{} {:?}: {}", object.kind, object.name, segment.snapshot(object));
    }
    segment.value::<u64>("winners")?.update(|winners| *winners += 1)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(name) => open(&name),
        None => make(),
    }
}
