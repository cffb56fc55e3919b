//! Messages of 64 bytes from one process to another. Where the crate has a capacity, it is 1,024
//! messages.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use iceoryx2::port::backpressure_strategy::BackpressureStrategy;
use iceoryx2::prelude::*;
use ipc_channel::ipc as channels;
use multiprocessing::{Queue, RawArray};

use crate::{Failure, Side, in_two_processes};

/// Messages of a turn.
pub const COUNT: u64 = 300_000;
/// A message: its number and filling.
type Message = [u64; 8];
const CAPACITY: usize = 1024;

/// The sides.
pub const SIDES: [Side; 4] = [
    ("this library, `Queue`", ours),
    ("iceoryx2, publish-subscribe, polled", iceoryx),
    ("ipc-channel, `IpcSender`", channel),
    ("interprocess, `unnamed_pipe`", pipe),
];

fn ours(count: u64) -> Result<Duration, Failure> {
    let queue = Queue::<Message>::new(CAPACITY)?;
    in_two_processes(
        || (0..count).try_for_each(|number| Ok(queue.put([number; 8])?)),
        || timed(count, || Ok(queue.get()?)),
    )
}

fn iceoryx(count: u64) -> Result<Duration, Failure> {
    let name = format!("peers/messages/{}", std::process::id());
    let service = |node: &Node<ipc::Service>| -> Result<_, Failure> {
        let service = node.service_builder(&name.as_str().try_into()?);
        let service = service.publish_subscribe::<Message>().enable_safe_overflow(false);
        Ok(service.subscriber_max_buffer_size(CAPACITY).open_or_create()?)
    };
    // The publisher discards what does not fit while the subscriber has not connected.
    let connected = RawArray::<u64>::new(1)?;
    in_two_processes(
        || {
            let node = NodeBuilder::new().create::<ipc::Service>()?;
            let service = service(&node)?;
            let publisher = service.publisher_builder();
            let publisher =
                publisher.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
            let publisher = publisher.create()?;
            while service.dynamic_config().number_of_subscribers() == 0 {
                thread::yield_now();
            }
            for number in 0..count {
                publisher.loan_uninit()?.write_payload([number; 8]).send()?;
                while connected.load(0) == 0 {
                    thread::yield_now();
                }
            }
            while service.dynamic_config().number_of_subscribers() > 0 {
                thread::yield_now();
            }
            Ok(())
        },
        || {
            let node = NodeBuilder::new().create::<ipc::Service>()?;
            let subscriber = service(&node)?.subscriber_builder().create()?;
            timed(count, || {
                loop {
                    match subscriber.receive()? {
                        Some(sample) => {
                            connected.store(0, 1);
                            return Ok(*sample.payload());
                        }
                        None => thread::yield_now(),
                    }
                }
            })
        },
    )
}

fn channel(count: u64) -> Result<Duration, Failure> {
    let (sender, receiver) = channels::channel::<Message>()?;
    in_two_processes(
        || (0..count).try_for_each(|number| Ok(sender.send([number; 8])?)),
        || timed(count, || Ok(receiver.recv()?)),
    )
}

fn pipe(count: u64) -> Result<Duration, Failure> {
    let (mut sender, mut receiver) = interprocess::unnamed_pipe::pipe()?;
    in_two_processes(
        || {
            (0..count).try_for_each(|number| {
                let message = [number; 8].map(u64::to_ne_bytes);
                Ok(sender.write_all(message.as_flattened())?)
            })
        },
        || {
            timed(count, || {
                let mut message = [[0; 8]; 8];
                receiver.read_exact(message.as_flattened_mut())?;
                Ok(message.map(u64::from_ne_bytes))
            })
        },
    )
}

/// Receives the messages and checks their order. The time starts with the first one.
fn timed(
    count: u64,
    mut receive: impl FnMut() -> Result<Message, Failure>,
) -> Result<Duration, Failure> {
    let mut start = Instant::now();
    for number in 0..count {
        if receive()? != [number; 8] {
            return Err(format!("message {number} is another one").into());
        }
        if number == 0 {
            start = Instant::now();
        }
    }
    Ok(start.elapsed())
}
