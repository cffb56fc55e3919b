//! This test binary has no test hook, so none of its tests can spawn a process.

use multiprocessing::{Process, SpawnError};

#[test]
fn a_program_without_a_hook_starts_no_process_and_learns_which_line_is_missing() {
    let refused = Process::spawn(|()| (), ()).unwrap_err();
    assert!(matches!(refused, SpawnError::NoHook));
    for line in ["multiprocessing::init()", "multiprocessing::test_hook!()"] {
        assert!(refused.to_string().contains(line), "{refused}");
    }
}
