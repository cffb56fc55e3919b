//! Rounds per second of the Barrier beside those of a pthread barrier in C, at 2 and 4 processes, by turns on one machine.
//! `cargo bench -p shm-multiprocessing`; needs a C compiler.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use multiprocessing::{Barrier, Plan, Process, Segment, SegmentName};

const ROUNDS: u32 = 40_000;
const TURNS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pthread_barrier.c");
    let program = std::env::temp_dir().join(format!("pthread-barrier.{}", std::process::id()));
    let compiled =
        Command::new("cc").arg("-O2").arg("-pthread").arg("-o").arg(&program).arg(source).status()?;
    if !compiled.success() {
        return Err("the C program does not compile".into());
    }
    for parties in [2, 4] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            theirs.push(pthread_rounds(&program, parties)?);
            ours.push(rounds(parties)?);
        }
        println!(
            "{parties} processes, rounds/s, median (least to most) of {TURNS} turns of {ROUNDS} rounds:"
        );
        println!("  Barrier            {}", summary(&mut ours));
        println!("  pthread_barrier_t  {}", summary(&mut theirs));
    }
    std::fs::remove_file(program)?;
    Ok(())
}

fn rounds(parties: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("bench-barrier.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().barrier("meet", parties))?;
    let meet = segment.barrier("meet")?;
    let meets = |meet: &Barrier| i32::from((0..ROUNDS).any(|_| meet.wait().is_err()));
    let begun = Instant::now();
    let processes: Result<Vec<_>, _> = (0..parties).map(|_| Process::spawn(|| meets(&meet))).collect();
    for process in &mut processes? {
        if !process.join()?.is_success() {
            return Err("a party failed".into());
        }
    }
    Ok(f64::from(ROUNDS) / begun.elapsed().as_secs_f64())
}

fn pthread_rounds(program: &Path, parties: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let output = Command::new(program).args([parties.to_string(), ROUNDS.to_string()]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn summary(figures: &mut [f64]) -> String {
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or_default();
    format!("{:.0} ({:.0} to {:.0})", at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}
