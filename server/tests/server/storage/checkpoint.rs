//! A worker syncs the files of the next checkpoint before the journal is full. Meanwhile the other
//! worker goes on, however long the sync takes. If it fails, the central stops.
//!
//! A preloaded library lets the sync hang. The tests compile it, so they need a C compiler.

use crate::harness::{CentralProcess, FileShim, Setup, eventually, large_packet, packet_of};

/// Bets of a batch of which about ten fill the journal.
const BETS: usize = 50_000;
/// Bets of the batch after them, which fills half of the journal.
const LAST_BETS: usize = 65_000;
/// Bytes of batches that nearly fill half of the journal.
const NEARLY_HALF: usize = 12 << 20;
/// Bytes of batches that the journal cannot hold.
const TOO_MUCH: usize = 34 << 20;

/// A central in which the sync of a file for the next checkpoint hangs.
struct Hanging<'a> {
    central: CentralProcess<'a>,
    shim: FileShim,
    /// Batches that are acknowledged, and their bytes.
    batches: usize,
    bytes: usize,
}

fn setup() -> Setup {
    Setup::new().with("SERVER_DURABILITY", "disk").with("SERVER_WORKERS", "2")
}

impl<'a> Hanging<'a> {
    /// Starts a central and fills its journal until the sync of a file hangs, as the order says.
    /// Without a C compiler, reports the test as left out.
    fn start(setup: &'a Setup, order: &str) -> Option<Self> {
        let shim = FileShim::compile(setup)?;
        let mut command = setup.command(&["run"]);
        shim.preload(&mut command);
        let central = setup.start_by(&mut command);
        shim.fail_next(order);
        let mut hanging = Self { central, shim, batches: 0, bytes: 0 };
        hanging.fill(NEARLY_HALF);
        // One batch fills the rest of that half. The worker that syncs has answered it, and no
        // other one is under way that it may have begun to read.
        hanging.store(&large_packet("the-mark-of-all-bets-in-the-last-batch", LAST_BETS, 1));
        eventually("a sync hangs", || hanging.shim.hangs(), |hangs| *hangs);
        Some(hanging)
    }

    /// Sends a batch with one winner and waits until it is acknowledged.
    fn store(&mut self, packet: &[u8]) {
        assert!(self.central.request(packet).len() > 2, "no winner is acknowledged");
        self.batches += 1;
        self.bytes += packet.len();
    }

    /// Stores large batches until all of them have this many bytes.
    fn fill(&mut self, bytes: usize) {
        while self.bytes < bytes {
            let mark = format!("the-mark-of-all-bets-in-the-batch-{}", self.batches);
            self.store(&large_packet(&mark, BETS, 1));
        }
    }
}

#[test]
fn commits_go_on_while_the_files_of_the_next_checkpoint_are_synced() {
    for file in ["bets.csv", "checkpoints"] {
        let setup = setup();
        let Some(mut hanging) = Hanging::start(&setup, &format!("sync {file} hang")) else {
            return;
        };
        for number in 0..4 {
            hanging.store(&packet_of(&format!("during{number}"), 5, 1));
        }
        // The checkpoint syncs the files itself.
        hanging.fill(TOO_MUCH);
        assert!(hanging.shim.hangs());

        hanging.shim.release();
        assert_eq!(hanging.central.results().winners, hanging.batches as u64, "{file}");
        assert_eq!(hanging.central.stop().0, 0, "{file}");
    }
}

#[test]
fn a_failure_of_that_sync_stops_the_central_although_no_batch_follows() {
    let setup = setup();
    let Some(mut hanging) = Hanging::start(&setup, "sync bets.csv hang-error") else { return };
    hanging.shim.release();
    assert_eq!(hanging.central.program.exit_code(), 3);
    assert!(hanging.central.program.count_lines_with("bets.csv durable") > 0);
    let batches = hanging.batches as u64;
    drop(hanging);
    let central = setup.start();
    assert_eq!(
        (central.number("bets"), central.results().winners),
        ((batches - 1) * BETS as u64 + LAST_BETS as u64, batches)
    );
    assert_eq!(central.stop().0, 0);
}
