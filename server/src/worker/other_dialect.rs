//! The hint in an error line that a peer speaks another dialect than its port.

use lottery::protocol::Dialect;

use super::READ_BYTES;

/// Returns the end of an error line: the dialect that the first bytes of a connection are valid in,
/// if that is another one than the dialect of its port. `greeting` comes before `bytes`.
pub fn other_dialect(port: &Dialect, greeting: &[u8], bytes: &[u8]) -> String {
    // A longer request is not examined, so it need not be copied.
    if bytes.len() > READ_BYTES {
        return String::new();
    }
    let bytes = &[greeting, bytes].concat();
    let spoken: Vec<_> =
        port.others_that_accept(bytes).iter().map(|dialect| dialect.name).collect();
    match spoken.is_empty() {
        true => String::new(),
        false => format!(
            "; it is a valid message of {}, and this port speaks {}: change the client's dialect, or \
             SERVER_PROTOCOL",
            spoken.join(" or "),
            port.name
        ),
    }
}
