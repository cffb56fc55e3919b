//! Locked increments per second of a Value, by 1, 2 and 4 processes, beside those of C on a robust pthread mutex, of raw_sync's
//! mutex and of Python's Value, by turns on one machine; and pairs of taking a Lock and giving it back.
//! `cargo bench -p shm-multiprocessing --bench increments`; needs a C compiler and `python3`.
#![allow(unsafe_code)] // raw_sync's mutex is made in memory given as a pointer.

mod common;

use std::process::Command;

use common::{CProgram, Figure, compare, name, print_machine, printed, rate, source};
use multiprocessing::{Plan, Segment};
use raw_sync::locks::{LockInit, Mutex};
use shared_memory::ShmemConf;

/// Increments of all processes together; Python, many times slower, does a fortieth.
const INCREMENTS: u32 = 16_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print_machine()?;
    let c = CProgram::compile("robust_mutex")?;
    for processes in [1_u32, 2, 4] {
        let each = INCREMENTS / processes;
        let in_c = |what: &str| c.run(&[processes.to_string(), each.to_string(), what.to_owned()]);
        compare(
            &format!("{processes} processes, increments/s"),
            &[
                ("C, robust mutex", &|| in_c("increments")),
                ("Value", &|| values(processes, each)),
                ("raw_sync", &|| raw_sync(processes, each)),
                ("Python's Value", &|| python(processes, each / 40)),
            ],
        )?;
        compare(
            &format!("{processes} processes, pairs/s"),
            &[("C, robust mutex", &|| in_c("pairs")), ("Lock", &|| locks(processes, each))],
        )?;
    }
    Ok(())
}

fn values(processes: u32, each: u32) -> Figure {
    let segment = Segment::create(&name()?, &Plan::new().value::<u64>("number"))?;
    let number = segment.value::<u64>("number")?;
    let increment = || (0..each).all(|_| number.update(|number| *number += 1).is_ok());
    let figure = rate(processes, each, increment)?;
    if number.get() == u64::from(processes * each) { Ok(figure) } else { Err("increments are lost".into()) }
}

fn locks(processes: u32, each: u32) -> Figure {
    let segment = Segment::create(&name()?, &Plan::new().lock("lock"))?;
    let lock = segment.lock("lock")?;
    rate(processes, each, || (0..each).all(|_| lock.lock().is_ok()))
}

fn raw_sync(processes: u32, each: u32) -> Figure {
    const NUMBER_OFFSET: usize = 64;
    let memory = ShmemConf::new().size(NUMBER_OFFSET + size_of::<u64>()).create()?;
    // SAFETY: the offset lies inside the memory.
    let number = unsafe { memory.as_ptr().add(NUMBER_OFFSET) };
    // SAFETY: the memory has room for a mutex before the number, and is mapped longer than the mutex is used.
    let (mutex, used) = unsafe { Mutex::new(memory.as_ptr(), number) }?;
    assert!(used <= NUMBER_OFFSET, "the mutex needs {used} bytes");
    let increment = || {
        (0..each).all(|_| {
            let Ok(guard) = mutex.lock() else { return false };
            let number = guard.cast::<u64>();
            // SAFETY: inside the memory and aligned; read and written by none but the holder of the mutex.
            let before = unsafe { number.read_volatile() };
            // SAFETY: as above.
            unsafe { number.write_volatile(before + 1) };
            true
        })
    };
    let figure = rate(processes, each, increment)?;
    // SAFETY: as above, and nobody else runs any more.
    let total = unsafe { number.cast::<u64>().read_volatile() };
    if total == u64::from(processes * each) { Ok(figure) } else { Err("increments are lost".into()) }
}

fn python(processes: u32, each: u32) -> Figure {
    let script = source("increments.py");
    printed(Command::new("python3").arg(script).args([processes.to_string(), each.to_string()]))
}
