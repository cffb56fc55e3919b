//! What the sources use of the system.

pub(crate) mod atomic;
pub(crate) mod futex;
pub(crate) mod mapping;

/// All threads of a model are in the same namespaces.
pub(crate) mod namespaces {
    pub(crate) struct Namespaces(());

    impl Namespaces {
        pub(crate) const UNKNOWN: Self = Self(());
    }
}

/// Time stands still, and no deadline passes: a wait that needs its deadline never ends, which loom
/// reports.
pub(crate) mod deadline {
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::sys::time::TimeSpec;

    #[derive(Clone, Copy)]
    pub(crate) struct Deadline(());

    impl Deadline {
        pub(crate) const NEVER: Self = Self(());

        pub(crate) fn after(_timeout: Duration) -> Result<Self, Errno> {
            Ok(Self::NEVER)
        }

        pub(crate) fn has_passed(self) -> Result<bool, Errno> {
            Ok(false)
        }

        pub(crate) fn next_look(self) -> Result<TimeSpec, Errno> {
            Ok(TimeSpec::new(0, 0))
        }
    }

    pub(crate) fn now_in_ms() -> Result<u64, Errno> {
        Ok(0)
    }
}
