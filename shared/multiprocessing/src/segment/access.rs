//! Who may use a segment: its user alone, or a group that the program has chosen.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::unistd::{Gid, geteuid};

use super::error::SegmentError;
use super::found::Opening;
use super::inspect::list;
use super::{Listing, Plan, Segment, View};
use crate::sys::name::SegmentName;

/// Permission bits of the entry of a segment that only its user may read and write.
const PRIVATE: u32 = 0o600;
/// Permission bits of the entry of a segment that a group shares.
const SHARED: u32 = 0o660;

/// Who may use a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Access {
    /// The effective user.
    #[default]
    Private,
    /// Every member of this group.
    Group(Gid),
}

impl Access {
    fn permissions(self) -> u32 {
        match self {
            Self::Private => PRIVATE,
            Self::Group(_) => SHARED,
        }
    }

    /// Fails unless an entry with these attributes is a file that only these users may open.
    pub(super) fn check(self, name: &SegmentName, entry: &Metadata) -> Result<(), SegmentError> {
        let (owner, permissions) = (entry.uid(), entry.mode() & 0o7777);
        match self {
            Self::Private if owner != geteuid().as_raw() || permissions & 0o077 != 0 => {
                Err(SegmentError::NotPrivate { name: name.clone(), owner, permissions })
            }
            // Its owner is, or was, a member of the group: only members and root can give a file
            // to a group.
            Self::Group(group) if entry.gid() != group.as_raw() || permissions != SHARED => {
                Err(SegmentError::NotOfGroup {
                    name: name.clone(),
                    group: group.as_raw(),
                    found: entry.gid(),
                    permissions,
                })
            }
            _ if !entry.is_file() => {
                let reason = "it is not a file".to_owned();
                Err(SegmentError::Foreign { name: name.clone(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Gives an entry that this process has just created to these users. The umask may have removed
    /// even the rights of the owner.
    pub(super) fn grant(self, path: &Path, entry: &Metadata) -> io::Result<()> {
        if let Self::Group(group) = self {
            chown(path, None, Some(group.as_raw())).map_err(|error| match error.kind() {
                ErrorKind::PermissionDenied => io::Error::new(
                    ErrorKind::PermissionDenied,
                    format!("this process is not in group {group}: run it with that group"),
                ),
                _ => error,
            })?;
        }
        if entry.mode() & 0o7777 != self.permissions() {
            fs::set_permissions(path, Permissions::from_mode(self.permissions()))?;
        }
        Ok(())
    }
}

/// Fails if this user may use the segment, but not remove it.
pub(super) fn check_removable(name: &SegmentName, entry: &Metadata) -> Result<(), SegmentError> {
    let (own, owner) = (geteuid(), entry.uid());
    if own.is_root() || own.as_raw() == owner {
        return Ok(());
    }
    Err(SegmentError::OfOtherUser { name: name.clone(), owner })
}

/// Creates and opens segments that the members of a group share. Without a group, it does what the
/// functions of [`Segment`] do.
///
/// Every process of the group that opens a segment trusts all others: see
/// [trust](crate::guide::limits#trust). So all of them must ask for the group.
///
/// ```
/// use multiprocessing::{Plan, SegmentName, SegmentOptions};
/// # let own = nix::unistd::getegid();
///
/// let name = SegmentName::unique("doc.group")?;
/// let options = SegmentOptions::new().group(own);
/// let segment = options.create(&name, &Plan::new().value::<u64>("winners"))?;
///
/// // In a process of another user in that group:
/// let opened = options.open(&name)?;
/// assert_eq!(opened.value::<u64>("winners")?.get(), 0);
/// # drop(segment);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A declared structure takes the segment: `Shared::of(options.create(&name, &Shared::plan(4))?)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SegmentOptions {
    access: Access,
}

impl SegmentOptions {
    /// Returns the options of a segment that is private to the effective user.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shares the segment with every member of this group. Its entry has mode 0660, and others have
    /// no rights. Any member may own it.
    pub fn group(mut self, group: Gid) -> Self {
        self.access = Access::Group(group);
        self
    }

    /// Creates a segment, as [`Segment::create`] does.
    ///
    /// # Errors
    /// Also if this process is not in the group.
    pub fn create(self, name: &SegmentName, plan: &Plan) -> Result<Segment, SegmentError> {
        Segment::create_for(name, plan, self.access, 0)
    }

    /// Opens a segment, as [`Segment::open`] does.
    ///
    /// # Errors
    /// [`SegmentError::NotOfGroup`] if the segment belongs to another group, or its mode is not
    /// 0660.
    pub fn open(self, name: &SegmentName) -> Result<Segment, SegmentError> {
        Segment::open_for(name, Opening::to_use(self.access))
    }

    /// Opens a segment to read it, as [`View::open`] does.
    ///
    /// # Errors
    /// The same as for [`open`](Self::open).
    pub fn view(self, name: &SegmentName) -> Result<View<Segment>, SegmentError> {
        View::open_for(name, self.access)
    }

    /// Opens or creates a segment, as [`Segment::open_or_create`] does.
    ///
    /// # Errors
    /// Also [`SegmentError::OfOtherUser`] if the creator was another user and is dead.
    pub fn open_or_create(self, name: &SegmentName, plan: &Plan) -> Result<Segment, SegmentError> {
        Segment::open_or_create_for(name, plan, self.access)
    }

    /// Returns the segment of this name as `/dev/shm` lists it, as [`Listing::of`] does.
    ///
    /// # Errors
    /// The same as for [`Listing::of`].
    pub fn listing(self, name: &SegmentName) -> Result<Listing, SegmentError> {
        Listing::read(name, self.access)
    }

    /// Returns every segment of this library in `/dev/shm`, as [`segments`](crate::segments) does.
    ///
    /// # Errors
    /// If `/dev/shm` cannot be listed.
    pub fn listings(self) -> io::Result<Vec<Listing>> {
        list(self.access)
    }

    /// Removes a segment whose creator and its children are gone, as [`Segment::reclaim`] does.
    ///
    /// # Errors
    /// Also [`SegmentError::OfOtherUser`]: in `/dev/shm` only its owner and root may remove an
    /// entry.
    pub fn reclaim(self, name: &SegmentName) -> Result<bool, SegmentError> {
        Segment::reclaim_for(name, self.access)
    }
}
