//! A segment is private to its user: its creator makes it so, and no other segment is opened. A
//! lock of another user contains addresses that unlocking would write to.

use std::fs::{Permissions, set_permissions, symlink_metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use multiprocessing::{Listing, Plan, Segment, SegmentError, SegmentName, segments};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, chown, geteuid, setuid};

use crate::common::{apply, child, join_all, leave_out, segment, test, unique_name};

/// A user without any right, by convention.
const OTHER_USER: Uid = Uid::from_raw(65534);

fn plan() -> Plan {
    Plan::new().lock("lock")
}

fn mode(name: &SegmentName) -> u32 {
    symlink_metadata(name.path()).unwrap().mode() & 0o7777
}

fn set_mode(name: &SegmentName, mode: u32) {
    set_permissions(name.path(), Permissions::from_mode(mode)).unwrap();
}

fn listing(name: &SegmentName) -> Option<Listing> {
    segments().unwrap().into_iter().find(|listing| listing.name == *name)
}

/// Asserts that the segment is refused in every way, for this owner and mode.
fn assert_refused(name: &SegmentName, owner: u32, mode: u32) {
    for refused in [Segment::open(name).map(drop), Segment::reclaim(name).map(drop)] {
        let error = refused.unwrap_err();
        let text = error.to_string();
        let SegmentError::NotPrivate { owner: user, permissions, .. } = error else {
            panic!("{mode:o}: {error:?}")
        };
        assert_eq!((user, permissions), (owner, mode));
        let named = format!("belongs to user {owner} and has mode {mode:03o}");
        assert!(text.contains(&named) && text.contains("remove that file"), "{text}");
    }
    assert_eq!(Segment::reclaim_all(name.as_str()).unwrap(), [], "mode {mode:o}");
    let found = listing(name).unwrap();
    assert_eq!((found.owner, found.permissions), (owner, mode));
    assert!(matches!(found.segment, Err(SegmentError::NotPrivate { .. })), "{:?}", found.segment);
}

#[apply(test)]
fn a_segment_with_any_right_for_group_or_others_is_refused() {
    let name = unique_name();
    let _segment = Segment::create(&name, &plan()).unwrap();
    for bit in (0..6).map(|bit| 1 << bit) {
        set_mode(&name, 0o600 | bit);
        assert_refused(&name, geteuid().as_raw(), 0o600 | bit);
    }
    set_mode(&name, 0o600);
    assert!(Segment::open(&name).is_ok());
}

/// Only root can give a file away or become another user.
#[apply(test)]
fn a_segment_of_another_user_is_refused_even_by_root() {
    if !Uid::effective().is_root() {
        leave_out("becoming another user needs root");
    }
    let name = unique_name();
    let segment = Segment::create(&name, &plan()).unwrap();
    join_all([child(|| {
        setuid(OTHER_USER).unwrap();
        let refused = Segment::open(&name);
        assert!(matches!(refused, Err(SegmentError::NotPrivate { owner: 0, .. })), "{refused:?}");
    })]);
    chown(&name.path(), Some(OTHER_USER), None).unwrap();
    assert_refused(&name, OTHER_USER.as_raw(), 0o600);
    drop(segment);
}

#[apply(test)]
fn a_new_segment_has_mode_600_whatever_the_umask() {
    let create_with_every_umask = || {
        for mask in [0, 0o022, 0o077, 0o177, 0o277, 0o777] {
            umask(Mode::from_bits_truncate(mask));
            let name = unique_name();
            let segment = Segment::create(&name, &plan());
            assert!(segment.is_ok(), "umask {mask:03o}: {segment:?}");
            assert_eq!(mode(&name), 0o600, "umask {mask:03o}");
            assert!(Segment::open(&name).is_ok());
        }
    };
    create_with_every_umask();
    // Root may open files without any right, so it does not notice the umask.
    if Uid::effective().is_root() {
        join_all([child(|| {
            setuid(OTHER_USER).unwrap();
            create_with_every_umask();
        })]);
    }
}

#[apply(test)]
fn a_segment_knows_whether_its_entry_still_leads_to_it() {
    let first = segment(&plan());
    let (name, opened) = (first.name().clone(), Segment::open(first.name()).unwrap());
    assert!(first.has_entry() && opened.has_entry());
    std::fs::remove_file(name.path()).unwrap();
    assert!(!first.has_entry() && !opened.has_entry());
    let second = Segment::create(&name, &plan()).unwrap();
    assert!(second.has_entry() && !first.has_entry() && !opened.has_entry(), "replaced");
}
