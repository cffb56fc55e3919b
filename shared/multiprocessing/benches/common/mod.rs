//! What the benches share: programs in C, processes against the clock, competitors by turns.
#![allow(dead_code, reason = "no bench uses all of it")]

use std::error::Error;
use std::fs::{read_to_string, remove_file};
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::time::Instant;

use multiprocessing::{Process, SegmentName};

/// A figure of one turn, in something per second.
pub type Figure = Result<f64, Box<dyn Error>>;

/// Turns that every competitor has.
const TURNS: usize = 9;

/// A compiled C program, removed when dropped.
pub struct CProgram(PathBuf);

impl CProgram {
    /// Compiles `benches/NAME.c`.
    pub fn compile(name: &str) -> Result<Self, Box<dyn Error>> {
        let program = Self(std::env::temp_dir().join(format!("{name}.{}", id())));
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-pthread", "-o"]).arg(&program.0).arg(source(&format!("{name}.c")));
        if compiler.status()?.success() { Ok(program) } else { Err("the C program does not compile".into()) }
    }

    /// Runs it; it prints its figure.
    pub fn run(&self, arguments: &[String]) -> Figure {
        printed(Command::new(&self.0).args(arguments))
    }
}

impl Drop for CProgram {
    fn drop(&mut self) {
        let _ = remove_file(&self.0);
    }
}

/// A file beside the benches.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name)
}

/// The one number that a program prints.
pub fn printed(command: &mut Command) -> Figure {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// A segment name of this bench's own.
pub fn name() -> Result<SegmentName, Box<dyn Error>> {
    Ok(SegmentName::new(&format!("bench.{}", id()))?)
}

/// How often per second something happens that each of so many processes does `each` times in `body`, all together. It returns
/// whether all went well. Forks and ends of the processes are part of the time.
pub fn rate(processes: u32, each: u32, body: impl Fn() -> bool) -> Figure {
    let begun = Instant::now();
    let started: Result<Vec<_>, _> = (0..processes).map(|_| Process::spawn(|| i32::from(!body()))).collect();
    for process in &mut started? {
        if !process.join()?.is_success() {
            return Err("a process failed".into());
        }
    }
    Ok(f64::from(processes) * f64::from(each) / begun.elapsed().as_secs_f64())
}

/// Prints on what machine, and how busy it is.
pub fn print_machine() -> Result<(), Box<dyn Error>> {
    let cpus = read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read_to_string("/proc/sys/kernel/osrelease")?;
    let load = read_to_string("/proc/loadavg")?;
    println!(
        "{}, {count} CPUs, Linux {}, load {}",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        load.trim()
    );
    Ok(())
}

/// Lets the competitors run by turns and prints for each the median, the extremes, and the median's share of the first one's.
pub fn compare(what: &str, competitors: &[(&str, &dyn Fn() -> Figure)]) -> Result<(), Box<dyn Error>> {
    let mut figures = vec![Vec::new(); competitors.len()];
    for _ in 0..TURNS {
        for ((_, turn), figures) in competitors.iter().zip(&mut figures) {
            figures.push(turn()?);
        }
    }
    println!("{what}, median (least to most) of {TURNS} turns:");
    let mut reference = None;
    for ((name, _), figures) in competitors.iter().zip(&mut figures) {
        figures.sort_by(f64::total_cmp);
        let (least, median, most) = (figures[0], figures[TURNS / 2], figures[TURNS - 1]);
        let share = 100.0 * median / *reference.get_or_insert(median);
        println!("  {name:<28} {median:>10.0} ({least:.0} to {most:.0}), {share:.1} %");
    }
    Ok(())
}
