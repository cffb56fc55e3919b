//! Who may open the storage: its owner, and its group for reading. No other user can read the bets
//! or block a start.

use std::fs::{self, OpenOptions, Permissions, set_permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use crate::harness::{Participant, Setup, bet, left_out, packet_of};

/// A user without any right, by convention.
const OTHER_USER: u32 = 65534;

/// All files of a storage after a draw, with the rights that they get.
const FILES: [(&str, u32); 8] = [
    ("bets.csv", 0o640),
    ("winners.log", 0o640),
    ("winners.idx", 0o640),
    ("journal", 0o600),
    ("checkpoints", 0o640),
    ("finished", 0o640),
    ("draw.csv", 0o640),
    ("lock", 0o600),
];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Returns true if this process may become another user; otherwise reports the test as left out.
fn is_root() -> bool {
    let root = Uid::effective().is_root();
    if !root {
        left_out("becoming another user needs root");
    }
    root
}

#[test]
fn new_files_are_readable_by_owner_and_group_only_and_the_umask_takes_more_away() {
    for (mask, parent, file_mask) in
        [("0", 0o750, 0o777), ("022", 0o750, 0o777), ("077", 0o700, 0o700)]
    {
        let mut setup = Setup::new().with("SERVER_PROTOCOL", "framed").with("SERVER_AGENCIES", "1");
        setup.set("SERVER_STORAGE_DIR", "a/b/storage");
        let script = format!("umask {mask}; exec \"$0\" run");
        let central = setup.start_by(&mut setup.shell(&[], &script));
        let mut agency = Participant::connect(central.port, "framed", 1);
        agency.store(&[bet("1", true)]);
        agency.finish();
        central.until_drawn();
        for directory in ["a", "a/b", "a/b/storage"] {
            assert_eq!(
                mode(&setup.directory().join(directory)),
                parent,
                "{directory}, umask {mask}"
            );
        }
        let storage = setup.directory().join("a/b/storage");
        for (name, rights) in FILES {
            assert_eq!(mode(&storage.join(name)), rights & file_mask, "{name}, umask {mask}");
        }
        assert_eq!(fs::read_dir(&storage).unwrap().count(), FILES.len(), "no other file");
    }
}

#[test]
fn a_start_takes_the_rights_of_other_users_away_from_existing_files() {
    let setup = Setup::new().with("SERVER_PROTOCOL", "framed").with("SERVER_AGENCIES", "1");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&[bet("1", true)]);
    agency.finish();
    central.until_drawn();
    assert_eq!(central.stop().0, 0);
    let aside = setup.stored("bets.csv.cut-1");
    fs::write(&aside, "").unwrap();
    let unrelated = setup.stored("notes.txt");
    fs::write(&unrelated, "").unwrap();
    for path in FILES.map(|(name, _)| setup.stored(name)).iter().chain([&aside, &unrelated]) {
        set_mode(path, 0o666);
    }
    set_mode(&setup.stored(""), 0o755);
    let central = setup.start();
    for (name, rights) in FILES {
        // The group could write before, so it could read: it keeps that.
        assert_eq!(mode(&setup.stored(name)), rights, "{name}");
    }
    assert_eq!(mode(&aside), 0o640);
    assert_eq!(mode(&unrelated), 0o666, "a file of another program keeps its rights");
    assert_eq!(mode(&setup.stored("")), 0o755, "the directory may have other uses");
    assert_eq!(central.number("bets"), 1);
    assert_eq!(central.program.count_lines_with("WARNING"), 0, "{:?}", central.program.lines());
}

#[test]
fn files_that_stay_open_to_others_and_a_directory_that_others_can_write_are_named_in_a_warning() {
    if !is_root() {
        return;
    }
    let setup = Setup::new();
    assert_eq!(setup.start().stop().0, 0);
    // The central runs as a user who does not own a file of the storage, so it cannot change it.
    let directory = setup.stored("");
    set_mode(setup.directory(), 0o777);
    let names = ["", "winners.log", "winners.idx", "journal", "checkpoints", "finished", "lock"];
    for name in names {
        chown(setup.stored(name), Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    }
    set_mode(&setup.stored("bets.csv"), 0o666);
    set_mode(&directory, 0o777);
    let mut command = setup.command(&["run"]);
    command.uid(OTHER_USER).gid(OTHER_USER);
    match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return left_out("another user cannot run the server where it was built");
        }
        spawned => {
            let mut child = spawned.unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let mut command = setup.command(&["run"]);
    let central = setup.start_by(command.uid(OTHER_USER).gid(OTHER_USER));
    central.program.line_with(
        "WARNING  action: config | result: fail | error: other users can open bets.csv in",
    );
    central.program.line_with("other users can remove and replace the files in");
    assert!(central.request(&packet_of("a", 1, 1)).len() > 2, "it works nevertheless");
    assert_eq!(central.stop().0, 0);
}

#[test]
fn another_user_cannot_lock_the_lock_file_and_so_block_every_start() {
    if !is_root() {
        return;
    }
    let setup = Setup::new();
    assert_eq!(setup.start().stop().0, 0);
    // As a version before this one left them.
    set_mode(setup.directory(), 0o755);
    set_mode(&setup.stored(""), 0o755);
    set_mode(&setup.stored("lock"), 0o644);
    assert_eq!(setup.start().stop().0, 0, "a start closes the file");
    let open = |path: &Path| {
        let mut command = Command::new("sh");
        command.arg("-c").arg("exec <\"$0\"").arg(path).uid(OTHER_USER).gid(OTHER_USER);
        command.stderr(Stdio::null()).status().unwrap().success()
    };
    let readable = setup.directory().join("readable");
    OpenOptions::new().write(true).create(true).truncate(false).open(&readable).unwrap();
    set_mode(&readable, 0o644);
    assert!(open(&readable), "the directory itself is open to the other user");
    for (name, _) in FILES.into_iter().filter(|(name, _)| *name != "draw.csv") {
        assert!(!open(&setup.stored(name)), "{name}");
    }
}
