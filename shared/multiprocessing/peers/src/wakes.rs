//! Round trips: two processes wake each other in turns and sleep in between.

use std::thread;
use std::time::{Duration, Instant};

use iceoryx2::prelude::*;
use ipc_channel::ipc as channels;
use multiprocessing::Event;

use crate::{Failure, Side, in_two_processes};

/// Round trips of a turn.
pub const COUNT: u64 = 10_000;

/// The sides.
pub const SIDES: [Side; 3] = [
    ("this library, `Event`", ours),
    ("iceoryx2, event", iceoryx),
    ("ipc-channel, `IpcSender`", channel),
];

fn ours(count: u64) -> Result<Duration, Failure> {
    let [ping, pong] = [Event::new()?, Event::new()?];
    in_two_processes(
        || {
            (0..count).try_for_each(|_| {
                ping.wait()?;
                ping.clear();
                pong.set();
                Ok(())
            })
        },
        || {
            timed(count, || {
                ping.set();
                pong.wait()?;
                pong.clear();
                Ok(())
            })
        },
    )
}

fn iceoryx(count: u64) -> Result<Duration, Failure> {
    let service = |node: &Node<ipc::Service>, direction: &str| -> Result<_, Failure> {
        let name = format!("peers/{direction}");
        Ok(node.service_builder(&name.as_str().try_into()?).event().open_or_create()?)
    };
    in_two_processes(
        || {
            let node = NodeBuilder::new().create::<ipc::Service>()?;
            let (ping, pong) = (service(&node, "ping")?, service(&node, "pong")?);
            let (listener, notifier) =
                (ping.listener_builder().create()?, pong.notifier_builder().create()?);
            while pong.dynamic_config().number_of_listeners() == 0 {
                thread::yield_now();
            }
            for _ in 0..count {
                listener.blocking_wait(|_| {})?;
                notifier.notify()?;
            }
            Ok(())
        },
        || {
            let node = NodeBuilder::new().create::<ipc::Service>()?;
            let (ping, pong) = (service(&node, "ping")?, service(&node, "pong")?);
            let (notifier, listener) =
                (ping.notifier_builder().create()?, pong.listener_builder().create()?);
            while ping.dynamic_config().number_of_listeners() == 0 {
                thread::yield_now();
            }
            timed(count, || {
                notifier.notify()?;
                listener.blocking_wait(|_| {})?;
                Ok(())
            })
        },
    )
}

fn channel(count: u64) -> Result<Duration, Failure> {
    let (ping, pinged) = channels::channel::<u64>()?;
    let (pong, ponged) = channels::channel::<u64>()?;
    in_two_processes(
        || (0..count).try_for_each(|_| Ok(pong.send(pinged.recv()?)?)),
        || {
            timed(count, || {
                ping.send(0)?;
                ponged.recv()?;
                Ok(())
            })
        },
    )
}

fn timed(
    count: u64,
    mut round_trip: impl FnMut() -> Result<(), Failure>,
) -> Result<Duration, Failure> {
    let start = Instant::now();
    for _ in 0..count {
        round_trip()?;
    }
    Ok(start.elapsed())
}
