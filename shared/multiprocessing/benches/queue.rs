//! Messages per second through the Queue, from one process to one, beside those through a ring in C under a robust mutex, by turns
//! on one machine. `cargo bench -p shm-multiprocessing --bench queue`; needs a C compiler.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use multiprocessing::{Plan, Process, Segment, SegmentName};

const MESSAGES: u64 = 300_000;
const TURNS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/robust_ring.c");
    let program = std::env::temp_dir().join(format!("robust-ring.{}", std::process::id()));
    let compiled =
        Command::new("cc").arg("-O2").arg("-pthread").arg("-o").arg(&program).arg(source).status()?;
    if !compiled.success() {
        return Err("the C program does not compile".into());
    }
    for capacity in [1, 64, 1024] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            theirs.push(ring_messages(&program, capacity)?);
            ours.push(messages(capacity)?);
        }
        println!(
            "capacity {capacity}, messages/s, median (least to most) of {TURNS} turns of {MESSAGES} messages:"
        );
        println!("  Queue      {}", summary(&mut ours));
        println!("  ring in C  {}", summary(&mut theirs));
    }
    std::fs::remove_file(program)?;
    Ok(())
}

fn messages(capacity: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("bench-queue.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().queue::<u64>("queue", capacity))?;
    let queue = segment.queue::<u64>("queue")?;
    let begun = Instant::now();
    let mut putting = Process::spawn(|| i32::from((0..MESSAGES).any(|number| queue.put(number).is_err())))?;
    for number in 0..MESSAGES {
        if queue.get()? != number {
            return Err("out of order".into());
        }
    }
    let took = begun.elapsed();
    putting.join()?;
    Ok(MESSAGES as f64 / took.as_secs_f64())
}

fn ring_messages(program: &Path, capacity: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let output = Command::new(program).args([capacity.to_string(), MESSAGES.to_string()]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn summary(figures: &mut [f64]) -> String {
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or_default();
    format!("{:.0} ({:.0} to {:.0})", at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}
