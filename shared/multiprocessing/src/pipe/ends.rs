//! The ends of pipes that a process hands over to a child.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;

use super::Connection;
use super::socket::Release;

/// What a process can hand over to a child, see
/// [`Process::fork_with`](crate::Process::fork_with): an end of a pipe, a
/// [`Listener`](crate::Listener), a tuple of up to four, an array or a vector of them, or `()` for
/// none.
pub trait Ends: sealed::Ends {}

pub(super) mod sealed {
    use std::os::fd::RawFd;

    /// Lists the descriptors of the ends.
    pub trait Ends {
        fn list(&self, descriptors: &mut Vec<RawFd>);
    }
}

/// Prepares a child that keeps these ends, and the one that returns its result, and closes all
/// others.
pub(crate) fn release_all_but(
    ends: &impl Ends,
    result: Option<&Connection>,
) -> Result<Release, Errno> {
    let mut kept = Vec::from_iter(result.map(|end| end.as_fd().as_raw_fd()));
    ends.list(&mut kept);
    Release::of_all_but(&kept)
}

impl<D> Ends for Connection<D> {}
impl<D> sealed::Ends for Connection<D> {
    fn list(&self, descriptors: &mut Vec<RawFd>) {
        descriptors.push(self.as_fd().as_raw_fd());
    }
}

impl<E: Ends> Ends for Vec<E> {}
impl<E: Ends> sealed::Ends for Vec<E> {
    fn list(&self, descriptors: &mut Vec<RawFd>) {
        self.iter().for_each(|end| end.list(descriptors));
    }
}

impl<E: Ends, const N: usize> Ends for [E; N] {}
impl<E: Ends, const N: usize> sealed::Ends for [E; N] {
    fn list(&self, descriptors: &mut Vec<RawFd>) {
        self.iter().for_each(|end| end.list(descriptors));
    }
}

macro_rules! tuples {
    ($(($($end:ident)*))*) => {$(
        impl<$($end: Ends),*> Ends for ($($end,)*) {}
        impl<$($end: Ends),*> sealed::Ends for ($($end,)*) {
            #[allow(non_snake_case, unused_variables)]
            fn list(&self, descriptors: &mut Vec<RawFd>) {
                let ($($end,)*) = self;
                $($end.list(descriptors);)*
            }
        }
    )*};
}

tuples! { () (A) (A B) (A B C) (A B C D) }
