//! Listeners of one name, and their clients, that are killed.

use std::time::Duration;

use multiprocessing::{Connection, Listener, PipeError, Plan, Process, RawValue};

use super::pipe::{examined, message};
use crate::common::{apply, child, fact, kill_at_random, kills, name, segment, soak, wait_until};

/// Pause of a process that finds the name taken, or free.
const PAUSE: Duration = Duration::from_micros(100);

/// Starts a process that takes the name once it is free, and returns each client's message.
fn server(bound: &RawValue<u64>) -> Process {
    child(|| {
        let listener = loop {
            match Listener::bind(name().as_str()) {
                Err(PipeError::AddressInUse) => std::thread::sleep(PAUSE),
                listener => break listener.unwrap(),
            }
        };
        bound.fetch_add(1);
        loop {
            let client = listener.accept().unwrap();
            match client.recv_bytes().and_then(|message| client.send_bytes(&message)) {
                Ok(()) | Err(PipeError::Closed) => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
}

/// Starts a process that connects over and over, and sends and receives a message each time.
fn client(answered: &RawValue<u64>, lost: &RawValue<u64>) -> Process {
    child(|| {
        let own = u64::from(std::process::id());
        for number in 0.. {
            let connected = Connection::connect(name().as_str());
            let answer = connected.and_then(|server| {
                server.send_bytes(&message(own, number))?;
                server.recv_bytes()
            });
            match answer {
                Ok(answer) => {
                    assert_eq!(examined(&answer), (own, number), "the answer to another client");
                    answered.fetch_add(1);
                }
                Err(PipeError::NoListener) => std::thread::sleep(PAUSE),
                Err(PipeError::Closed) => _ = lost.fetch_add(1),
                Err(error) => panic!("{error}"),
            }
        }
    })
}

/// The next listener gets the name of a killed one at once. No client waits for a dead listener, or
/// gets the answer of another client.
#[apply(soak)]
fn a_name_passes_on_when_its_listener_is_killed_and_its_clients_get_an_error() {
    let plan = Plan::new().raw_value::<u64>("bound").raw_value::<u64>("answered");
    let segment = segment(&plan.raw_value::<u64>("lost"));
    let [bound, answered, lost] =
        ["bound", "answered", "lost"].map(|name| segment.raw_value::<u64>(name).unwrap());
    let server = || server(&bound);
    let client = || client(&answered, &lost);
    kill_at_random(kills(300), &[&server, &client, &server, &client], |_| {
        let before = answered.load();
        wait_until("a client is answered", || answered.load() > before);
    });
    fact("recoveries", bound.load() - 1);
    assert!(lost.load() > 0, "no listener was killed with a client");
}
