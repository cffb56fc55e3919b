//! The bytes of a key, and of an entry of the file `sessions`.

use lottery::BatchKey;

use super::super::journal::header::hash;

/// Size of the bytes of a key.
pub const KEY_BYTES: usize = 40;
/// Size of an entry.
pub const ENTRY_BYTES: usize = 64;
/// Offset of its epoch, behind the key.
const EPOCH: usize = KEY_BYTES;
/// Offset of its CRC-32, which covers everything before.
const CHECKSUM: usize = ENTRY_BYTES - 4;

/// The last batch of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key of that batch.
    pub key: BatchKey,
    /// Epoch of the journal in which the entry was written.
    pub epoch: u64,
}

impl Entry {
    /// Returns the bytes.
    pub fn bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..KEY_BYTES].copy_from_slice(&bytes_of(&self.key));
        bytes[EPOCH..EPOCH + 8].copy_from_slice(&self.epoch.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Parses the bytes of an entry. Returns `None` if they are none, or a torn or damaged one.
    pub fn parse(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let whole = crc32fast::hash(&bytes[..CHECKSUM]).to_le_bytes() == bytes[CHECKSUM..];
        let (key, rest) = bytes.split_first_chunk()?;
        let (epoch, _) = rest.split_first_chunk()?;
        whole.then(|| Self { key: key_of(key), epoch: u64::from_le_bytes(*epoch) })
    }
}

/// Returns the bytes of a key.
pub fn bytes_of(key: &BatchKey) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    bytes[..16].copy_from_slice(&key.session);
    bytes[16..24].copy_from_slice(&key.sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&key.content.to_le_bytes());
    bytes[32..34].copy_from_slice(&key.agency.to_le_bytes());
    bytes
}

/// Returns the key in these bytes.
pub fn key_of(bytes: &[u8; KEY_BYTES]) -> BatchKey {
    let mut session = [0; 16];
    session.copy_from_slice(&bytes[..16]);
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let agency = u16::from_le_bytes([bytes[32], bytes[33]]);
    BatchKey { session, agency, sequence: word(16), content: word(24) }
}

/// Returns the hash of a key.
pub fn hash_of(key: &BatchKey) -> u64 {
    hash(&bytes_of(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let session = std::array::from_fn(|at| at as u8 + 1);
        let key = BatchKey { session, agency: 513, sequence: 1 << 40, content: u64::MAX - 5 };
        Entry { key, epoch: 3 << 33 }
    }

    #[test]
    fn an_entry_is_parsed_from_its_bytes_and_from_none_with_a_flipped_bit() {
        let bytes = entry().bytes();
        assert_eq!(Entry::parse(&bytes), Some(entry()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::parse(&damaged), None, "bit {bit}");
        }
        assert_eq!(Entry::parse(&[0; ENTRY_BYTES]), None);
    }

    #[test]
    fn the_hash_of_a_key_depends_on_every_field() {
        let key = entry().key;
        let others = [
            BatchKey { session: [0; 16], ..key },
            BatchKey { agency: 512, ..key },
            BatchKey { sequence: key.sequence + 1, ..key },
            BatchKey { content: 0, ..key },
        ];
        assert!(others.iter().all(|other| hash_of(other) != hash_of(&key)));
    }
}
