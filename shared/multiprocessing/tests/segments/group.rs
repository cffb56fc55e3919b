//! A segment that the members of a group share, if all of them ask for that. Only root can become
//! another user, so every test needs root.

use std::fs::{Permissions, set_permissions, symlink_metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use multiprocessing::{
    LockError, Plan, Process, Segment, SegmentError, SegmentName, SegmentOptions,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chown, setgid, setgroups, setuid};

use crate::common::{
    apply, child, join_all, kill_and_join, leave_out, name, sleep_for_ever, test, unique_name,
    wait_until,
};

/// The group that shares a segment, and one that does not. No user needs to exist.
const GROUP: Gid = Gid::from_raw(12_345);
const OTHER_GROUP: Gid = Gid::from_raw(12_346);
/// Two members of the group, and a user who is in the other one.
const ALICE: Uid = Uid::from_raw(54_321);
const BOB: Uid = Uid::from_raw(54_322);
const STRANGER: Uid = Uid::from_raw(54_323);

fn needs_root() {
    if !Uid::effective().is_root() {
        leave_out("becoming another user needs root");
    }
}

/// Makes this process one of a user in a group.
fn become_user(user: Uid, group: Gid) {
    setgroups(&[group]).unwrap();
    setgid(Gid::from_raw(user.as_raw())).unwrap();
    setuid(user).unwrap();
}

/// Runs a function as a user in a group, in a child that must succeed.
fn as_user(user: Uid, group: Gid, body: impl FnOnce()) {
    join_all([child(|| {
        become_user(user, group);
        body();
    })]);
}

fn options() -> SegmentOptions {
    SegmentOptions::new().group(GROUP)
}

fn plan() -> Plan {
    Plan::new().value::<u64>("value").lock("lock").raw_value::<u64>("ready").event("done")
}

/// Creates a segment of the group as Alice, in a child that keeps it until it is killed.
fn made_by_alice(name: &SegmentName) -> Process {
    let alice = child(|| {
        become_user(ALICE, GROUP);
        let segment = options().create(name, &plan()).unwrap();
        segment.value::<u64>("value").unwrap().set(20).unwrap();
        segment.raw_value::<u64>("ready").unwrap().store(1);
        let lock = segment.lock("lock").unwrap();
        let _guard = lock.lock().unwrap();
        segment.event("done").unwrap().set();
        sleep_for_ever();
    });
    wait_until("Alice's segment is ready", || {
        options().open(name).is_ok_and(|segment| segment.event("done").unwrap().is_set())
    });
    alice
}

#[apply(test)]
fn members_of_the_group_share_a_segment_and_no_other_user_can_open_it() {
    needs_root();
    let name = unique_name();
    let alice = made_by_alice(&name);
    let entry = symlink_metadata(name.path()).unwrap();
    assert_eq!((entry.mode() & 0o7777, entry.gid(), entry.uid()), (0o660, 12_345, 54_321));

    as_user(BOB, GROUP, || {
        let segment = options().open(&name).unwrap();
        assert!(segment.creator_is_alive());
        assert_eq!(segment.value::<u64>("value").unwrap().update(|value| *value += 1), Ok(21));
        // Another user's process holds the lock, and is seen to live.
        assert!(matches!(segment.lock("lock").unwrap().try_lock(), Ok(None)));
        // Without the option, a segment of another user is refused as always.
        let refused = Segment::open(&name);
        assert!(matches!(refused, Err(SegmentError::NotPrivate { owner: 54_321, .. })));
        assert!(matches!(options().reclaim(&name), Err(SegmentError::InUse { .. })));
    });
    as_user(STRANGER, OTHER_GROUP, || {
        let refused = options().open(&name).unwrap_err();
        assert!(matches!(refused, SegmentError::System { .. }), "{refused:?}");
        assert!(refused.to_string().contains("ermission denied"), "{refused}");
    });

    // A killed owner of a lock is noticed across users.
    kill_and_join(alice);
    as_user(BOB, GROUP, || {
        let segment = options().open(&name).unwrap();
        assert!(!segment.creator_is_alive());
        let lock = segment.lock("lock").unwrap();
        let Err(LockError::OwnerDied(inherited)) = lock.lock() else { panic!("no death") };
        drop(inherited.repaired());
    });
    assert!(options().reclaim(&name).unwrap());
}

/// In `/dev/shm` only the owner of an entry and root may remove it.
#[apply(test)]
fn a_segment_of_a_dead_member_is_removed_by_its_owner_or_by_root() {
    needs_root();
    for by_root in [false, true] {
        let name = unique_name();
        kill_and_join(made_by_alice(&name));
        as_user(BOB, GROUP, || {
            for refused in [options().reclaim(&name).map(drop), replaced(&name)] {
                let error = refused.unwrap_err();
                assert!(matches!(error, SegmentError::OfOtherUser { owner: 54_321, .. }));
                let text = error.to_string();
                assert!(text.contains("user 54321") && text.contains("shm rm"), "{text}");
            }
        });
        assert!(name.path().exists());
        if by_root {
            assert!(options().reclaim(&name).unwrap());
        } else {
            as_user(ALICE, GROUP, || assert!(replaced(&name).is_ok()));
        }
        assert!(!name.path().exists());
    }
}

fn replaced(name: &SegmentName) -> Result<(), SegmentError> {
    options().open_or_create(name, &plan()).map(drop)
}

#[apply(test)]
fn the_group_option_accepts_only_a_segment_of_that_group_with_mode_660() {
    needs_root();
    let name = unique_name();
    let segment = options().create(&name, &plan()).unwrap();
    let refusal = || {
        let refused = options().open(&name).unwrap_err();
        let SegmentError::NotOfGroup { group, found, permissions, .. } = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(*group, GROUP.as_raw());
        assert!(refused.to_string().contains("mode 660"), "{refused}");
        (*found, *permissions)
    };
    for mode in [0o600, 0o640, 0o661, 0o662, 0o664, 0o666, 0o2660] {
        set_permissions(name.path(), Permissions::from_mode(mode)).unwrap();
        assert_eq!(refusal(), (GROUP.as_raw(), mode));
    }
    set_permissions(name.path(), Permissions::from_mode(0o660)).unwrap();
    assert!(options().open(&name).is_ok());
    chown(&name.path(), None, Some(OTHER_GROUP)).unwrap();
    assert_eq!(refusal(), (OTHER_GROUP.as_raw(), 0o660));
    drop(segment);
    // A private segment is not shared just because a member asks for the group.
    let _private = Segment::create(&name, &plan()).unwrap();
    chown(&name.path(), None, Some(GROUP)).unwrap();
    assert_eq!(refusal(), (GROUP.as_raw(), 0o600));
}

#[apply(test)]
fn only_a_member_creates_a_segment_for_a_group_and_a_failure_leaves_no_entry() {
    needs_root();
    as_user(STRANGER, OTHER_GROUP, || {
        let refused = options().create(&name(), &plan()).unwrap_err();
        assert!(refused.to_string().contains("not in group 12345"), "{refused}");
        assert!(!name().path().exists());
    });
    as_user(ALICE, GROUP, || {
        for mask in [0, 0o077, 0o777] {
            umask(Mode::from_bits_truncate(mask));
            let _segment = options().create(&name(), &plan()).unwrap();
            let entry = symlink_metadata(name().path()).unwrap();
            assert_eq!(entry.mode() & 0o7777, 0o660, "umask {mask:03o}");
            assert!(options().open(&name()).is_ok());
        }
    });
}
