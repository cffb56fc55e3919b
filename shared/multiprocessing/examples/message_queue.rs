//! A queue of messages of any length: two children count the words of texts that their parent puts.
//! Run it with `cargo run -p shm-multiprocessing --example message_queue`.

use std::collections::BTreeMap;

use multiprocessing::{MessageQueue, MessageQueueError, Plan, Process, Segment, SegmentName};

type Counts = BTreeMap<String, u32>;

fn count(texts: &MessageQueue, counts: &MessageQueue) -> Result<(), MessageQueueError> {
    for text in texts.iter::<String>() {
        let mut words = Counts::new();
        for word in text?.split_whitespace() {
            *words.entry(word.to_owned()).or_default() += 1;
        }
        counts.put(&words)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-message-queue.{}", std::process::id()))?;
    // In bytes. Each text and each result fits.
    let plan = Plan::new().message_queue("texts", 100).message_queue("counts", 1000);
    let segment = Segment::create(&name, &plan)?;
    let (texts, counts) = (segment.message_queue("texts")?, segment.message_queue("counts")?);

    let worker = || i32::from(count(&texts, &counts).is_err());
    let mut workers = [Process::fork(worker)?, Process::fork(worker)?];
    for text in ["to be or not to be", "a rose is a rose is a rose", "be"] {
        texts.put(text)?;
    }
    if let Err(error) = texts.put(&"a".repeat(200)) {
        println!("refused: {error}");
    }
    texts.close()?;
    for worker in &mut workers {
        worker.join()?;
    }
    counts.close()?;
    let mut all = Counts::new();
    for words in counts.iter::<Counts>() {
        words?.into_iter().for_each(|(word, times)| *all.entry(word).or_default() += times);
    }
    println!("{all:?}");
    Ok(())
}
