//! Values that cross to a spawned process together with ends of pipes in them.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::PipeError;
use super::message::{decode, encode};
use super::socket::Socket;
use super::{Connection, Listener};

thread_local! {
    /// The ends in the value that this thread encodes as an argument.
    static LEAVING: RefCell<Option<Vec<OwnedFd>>> = const { RefCell::new(None) };
    /// The ends in the argument that this thread decodes. Each is taken out once.
    static ARRIVED: RefCell<Vec<Option<OwnedFd>>> = const { RefCell::new(Vec::new()) };
}

/// A descriptor that crosses in an argument.
#[derive(Debug)]
pub(crate) struct Handed(pub(crate) OwnedFd);

/// Encodes an argument, and returns duplicates of the ends in it. They cross beside the bytes.
pub(crate) fn encode_argument<A: Serialize>(
    argument: &A,
) -> Result<(Vec<u8>, Vec<OwnedFd>), PipeError> {
    LEAVING.set(Some(Vec::new()));
    let bytes = encode(argument);
    let ends = LEAVING.take().unwrap_or_default();
    Ok((bytes?, ends))
}

/// Decodes an argument with the ends that came beside it.
pub(crate) fn decode_argument<A: DeserializeOwned>(
    bytes: &[u8],
    ends: Vec<OwnedFd>,
) -> Result<A, PipeError> {
    ARRIVED.set(ends.into_iter().map(Some).collect());
    let argument = decode(bytes);
    ARRIVED.take();
    argument
}

/// Encodes an end as its place among the ends of the argument.
fn leave<S: Serializer>(end: &impl AsFd, serializer: S) -> Result<S::Ok, S::Error> {
    let duplicate = end.as_fd().try_clone_to_owned().map_err(S::Error::custom)?;
    let place = LEAVING.with_borrow_mut(|leaving| {
        let leaving = leaving.as_mut()?;
        leaving.push(duplicate);
        u32::try_from(leaving.len() - 1).ok()
    });
    let refused = "an end of a pipe crosses only in the argument of Process::spawn, or by send_fd";
    place.ok_or_else(|| S::Error::custom(refused))?.serialize(serializer)
}

fn arrive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OwnedFd, D::Error> {
    let place = u32::deserialize(deserializer)?;
    let end = ARRIVED.with_borrow_mut(|ends| ends.get_mut(place as usize)?.take());
    end.ok_or_else(|| D::Error::custom("no end of a pipe came with the value"))
}

/// An end crosses only in the argument of [`Process::spawn`](crate::Process::spawn).
impl<D> Serialize for Connection<D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        leave(self, serializer)
    }
}

impl<'de, D> Deserialize<'de> for Connection<D> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        Ok(Self::new(Socket::new(arrive(deserializer)?)))
    }
}

/// A listener crosses only in the argument of [`Process::spawn`](crate::Process::spawn).
impl Serialize for Listener {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        leave(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Listener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(Socket::new(arrive(deserializer)?)))
    }
}

impl Serialize for Handed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        leave(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Handed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(arrive(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Duplex, pipe};
    use super::*;

    #[test]
    fn ends_cross_with_an_argument_and_not_with_a_message() {
        let (here, there) = pipe().unwrap();
        let (bytes, ends) = encode_argument(&(7_u8, there)).unwrap();
        let (number, end): (u8, Connection<Duplex>) = decode_argument(&bytes, ends).unwrap();
        end.send(&number).unwrap();
        assert_eq!(here.recv::<u8>().unwrap(), 7);

        let (one, other) = pipe().unwrap();
        assert!(matches!(here.send(&one), Err(PipeError::Encode(_))));
        let (bytes, ends) = encode_argument(&other).unwrap();
        assert!(matches!(decode::<Connection>(&bytes), Err(PipeError::Decode(_))));
        let twice = [&bytes[..], &bytes[..]].concat();
        assert!(decode_argument::<(Connection, Connection)>(&twice, ends).is_err(), "taken twice");
    }
}
