//! Spawned children: a program with threads starts processes that execute it again.
//! Run it with `cargo run -p shm-multiprocessing --example spawn`.

use multiprocessing::{Connection, JoinError, Plan, Process, Segment, SegmentName, pipe};

fn count(name: SegmentName) -> Result<u64, Box<dyn std::error::Error>> {
    let segment = Segment::open(&name)?;
    let counted = segment.value::<u64>("counted")?;
    counted.update(|counted| *counted += 1)?;
    Ok(counted.get())
}

fn parse(text: String) -> Result<u32, std::num::ParseIntError> {
    let number: u32 = text.trim().parse()?;
    Ok(number)
}

fn wait_for_work(work: Connection) -> Result<(), multiprocessing::PipeError> {
    work.send("ready")?;
    work.recv()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A child gets control here, and does not return.
    multiprocessing::init();

    let name = SegmentName::new(&format!("example-spawn.{}", std::process::id()))?;
    let _segment = Segment::create(&name, &Plan::new().value::<u64>("counted"))?;
    // With this thread, the program could not fork.
    let thread = std::thread::spawn(std::thread::park);
    println!("counted: {}", Process::spawn(count, name.clone())?.join()?);
    println!("counted: {}", Process::spawn(count, name)?.join()?);

    println!("a number: {}", Process::spawn(parse, " 42 ".to_owned())?.join()?);
    if let Err(error) = Process::spawn(parse, "many".to_owned())?.join() {
        println!("no number: {error}");
    }

    let (here, there) = pipe()?;
    let mut killed = Process::spawn(wait_for_work, there)?;
    println!("a child is {}", here.recv::<String>()?);
    killed.kill()?;
    if let Err(JoinError::Ended(exit)) = killed.join() {
        println!("it was ended by {exit}, and its pipe says: {:?}", here.recv::<()>());
    }
    thread.thread().unpark();
    Ok(())
}
