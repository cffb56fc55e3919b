//! A reply that says that a batch is stored, or names the number after it, waits until the batch is
//! durable, also if another worker makes it durable. A preloaded library holds the sync of that
//! worker. The tests compile it, so they need a C compiler.

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::harness::{AgencyConnection, CentralProcess, FileShim, KeyedAgency, Setup, eventually};
use lottery::protocol::Advice;

/// How long a reply must stay away. One that did not wait would come within milliseconds.
const SILENCE: Duration = Duration::from_millis(300);

/// The kinds of request that tell an agency which batches of its session are stored.
const KINDS: [Kind; 5] =
    [Kind::Question, Kind::Gap, Kind::Earlier, Kind::Repetition, Kind::OtherContent];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The question for the number of the next batch.
    Question,
    /// A batch after a gap.
    Gap,
    /// The batch before the last one.
    Earlier,
    /// The last batch once more.
    Repetition,
    /// The number of the last batch with other bets.
    OtherContent,
}

impl Kind {
    /// Returns the request of an agency that has sent batches 1 and 2.
    fn request(self, agency: &mut KeyedAgency) -> Vec<u8> {
        match self {
            Self::Question => agency.codec.session_question().unwrap(),
            Self::Gap => agency.batch(4, "d"),
            Self::Earlier => agency.batch(1, "a"),
            Self::Repetition => agency.batch(2, "b"),
            Self::OtherContent => agency.batch(2, "c"),
        }
    }

    /// Asserts that a reply is the right one after batch 2.
    fn assert_right(self, agency: &KeyedAgency, reply: &[u8]) {
        match self {
            Self::Question => assert_eq!(agency.codec.next_sequence(reply), Ok(Some(3))),
            Self::Gap | Self::Earlier => assert_eq!(agency.advice(reply), Advice::ResendFrom(3)),
            Self::Repetition => agency.assert_stored(reply, "b"),
            Self::OtherContent => assert_eq!(agency.advice(reply), Advice::Stop),
        }
    }
}

fn setup() -> Setup {
    Setup::new()
        .with("SERVER_PROTOCOL", "keyed")
        .with("SERVER_DURABILITY", "disk")
        .with("SERVER_WORKERS", "2")
}

/// Starts a central whose syncs can be held. Without a C compiler, reports the test as left out.
fn start(setup: &Setup) -> Option<(CentralProcess<'_>, FileShim)> {
    let shim = FileShim::compile(setup)?;
    let mut command = setup.command(&["run"]);
    shim.preload(&mut command);
    Some((setup.start_by(&mut command), shim))
}

/// Sends a request and ends the sending side. Returns what the central answers until the connection
/// ends in any way.
fn ask(port: u16, request: &[u8]) -> Vec<u8> {
    let mut connection = AgencyConnection::open(port);
    connection.send(request);
    connection.end_sending();
    connection.read_until_gone()
}

/// Asserts that nothing arrives on a connection for a while.
fn assert_silent(connection: &AgencyConnection, context: Kind) {
    let start = Instant::now();
    while start.elapsed() < SILENCE {
        assert!(connection.is_quiet(), "{context:?}: answered before the batch is durable");
        sleep(Duration::from_millis(5));
    }
}

/// Stores batch 1 and sends batch 2, whose sync is held. Then sends a request, which the other
/// worker serves, and asserts that it is not answered. Returns both replies after `release`.
fn replies_around(
    central: &CentralProcess<'_>,
    shim: &FileShim,
    kind: Kind,
    agency: &mut KeyedAgency,
    release: impl FnOnce(),
) -> [Vec<u8>; 2] {
    let port = central.port;
    let first = agency.batch(1, "a");
    agency.assert_stored(&ask(port, &first), "a");
    let second = agency.batch(2, "b");
    shim.fail_next("sync journal hang");
    scope(|scope| {
        let stored = scope.spawn(move || ask(port, &second));
        eventually("the sync is held", || shim.hangs(), |held| *held);
        let mut other = central.connect();
        other.send(&kind.request(agency));
        other.end_sending();
        assert_silent(&other, kind);
        release();
        let reply = other.read_until_gone();
        [stored.join().unwrap(), reply]
    })
}

#[test]
fn no_reply_names_a_batch_that_another_worker_has_not_made_durable() {
    for kind in KINDS {
        let (setup, mut agency) = (setup(), KeyedAgency::new(1));
        let Some((central, shim)) = start(&setup) else { return };
        let [stored, reply] = replies_around(&central, &shim, kind, &mut agency, || shim.release());
        agency.assert_stored(&stored, "b");
        kind.assert_right(&agency, &reply);
        assert_eq!(setup.rows().len(), 6, "{kind:?}");
    }
}

#[test]
fn no_reply_names_a_batch_whose_sync_has_failed() {
    for kind in KINDS {
        let (setup, mut agency) = (setup(), KeyedAgency::new(1));
        let Some((mut central, shim)) = start(&setup) else { return };
        let replies = replies_around(&central, &shim, kind, &mut agency, || {
            shim.fail_next("sync journal error");
            shim.release();
        });
        assert!(replies.iter().all(Vec::is_empty), "{kind:?}: {replies:?}");
        assert_eq!(central.program.exit_code(), 3, "{:?}", central.program.lines());
        drop(central);
        // The machine is still up, so the batch is there, and now it is durable.
        let central = setup.start();
        let again = agency.batch(2, "b");
        agency.assert_stored(&ask(central.port, &again), "b");
        assert_eq!(setup.rows().len(), 6, "{kind:?}");
    }
}
