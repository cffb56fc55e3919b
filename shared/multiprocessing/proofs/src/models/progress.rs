//! Models of a worker that begins tasks while the dispatcher takes them back.

use loom::thread;

use super::progress::Progress;
use crate::models::check;

fn progress() -> Progress {
    Progress::new().unwrap()
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
        assert_eq!(progress.take_back(3), 3);
    });
}

/// The worker receives three messages, and the dispatcher takes back two, then the rest.
pub(crate) fn take_back_some() {
    check(5, || {
        let progress = progress();
        let worker = progress.clone();
        let worker = thread::spawn(move || [1, 2, 3].map(|message| worker.begin(message, message)));
        let settled = [2, 3].map(|last| progress.take_back(last));
        let begun = worker.join().unwrap();
        let taken_back = |message| settled[0] < message && message <= 2 || settled[1] < message;
        assert_eq!(begun, [1, 2, 3].map(|message| !taken_back(message)));
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
