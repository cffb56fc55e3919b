//! Models of a worker that begins tasks while the dispatcher takes them back.

use loom::thread;

use super::progress::Progress;
use crate::models::check;

fn progress() -> Progress {
    Progress::for_workers(1).unwrap().remove(0)
}

/// The worker receives two messages, and the dispatcher takes both back.
pub(crate) fn take_back() {
    check(5, || {
        let progress = progress();
        let worker = progress.clone();
        let worker = thread::spawn(move || [1, 2].map(|message| worker.begin(message, message)));
        let settled = progress.take_back(2);
        let begun = worker.join().unwrap();
        assert_eq!(begun, [1, 2].map(|message| message <= settled));
        assert!(progress.begin(3, 3), "a message that was sent afterwards");
        assert_eq!((progress.take_back(3), progress.received()), (3, 3));
    });
}

/// The dispatcher asks for the time of the task that runs.
pub(crate) fn time() {
    check(5, || {
        let progress = progress();
        let worker = progress.clone();
        let worker =
            thread::spawn(move || [1, 2].map(|message| worker.begin(message, 10 * message)));
        let settled = progress.settled();
        assert!(progress.began() >= 10 * settled, "the time of an earlier task");
        let settled = progress.take_back(2);
        assert!(progress.began() >= 10 * settled, "the time of an earlier task");
        worker.join().unwrap();
    });
}
