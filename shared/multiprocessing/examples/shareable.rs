//! Structures that processes share: a list of fixed-size records, like Python's `ShareableList`.
//! Run it with `cargo run -p shm-multiprocessing --example shareable`.

use multiprocessing::{Plan, Process, Segment, SegmentName, Shareable};

/// The record of an agency. Text has a fixed length and is padded with NUL.
#[derive(Clone, Copy, Shareable)]
#[repr(C)]
struct Agency {
    bets: u64,
    stake: f64,
    number: u32,
    city: [u8; 12],
}

fn text(padded: &[u8]) -> String {
    String::from_utf8_lossy(padded).trim_end_matches('\0').to_owned()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-shareable.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().array::<Agency>("agencies", 2))?;
    let agencies = segment.array::<Agency>("agencies")?;

    let mut clerk = Process::fork(|| {
        let Ok(mut list) = agencies.lock() else { return 1 };
        for (number, (agency, city)) in (1..).zip(list.iter_mut().zip(["Rosario", "Ushuaia"])) {
            agency.number = number;
            agency.bets += 10 * u64::from(number);
            agency.stake = 2.5;
            agency.city[..city.len()].copy_from_slice(city.as_bytes());
        }
        0
    })?;
    println!("the clerk ended with {}", clerk.join()?);

    match agencies.lock() {
        Ok(list) => {
            for Agency { number, city, bets, stake } in list.iter() {
                println!("agency {number} in {}: {bets} bets of {stake}", text(city));
            }
        }
        Err(error) => println!("{error}"),
    }
    // Any program can find the records by name, and the Python package reads them by field.
    println!("{} bytes are shared", segment.objects()[0].bytes);
    Ok(())
}
