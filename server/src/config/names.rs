//! The names of a lottery and of a central among those that share a database.

use nix::unistd::gethostname;

/// Largest length of a name in bytes.
const MAX_NAME: usize = 63;

/// Returns the name of a lottery or of a central, if the text is one: letters, digits, `.`, `_` and
/// `-`.
pub fn name(text: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_plain);
    is_name.then(|| text.to_owned())
}

/// Returns the name of a central: a [`name`], or the name of the host for `auto`.
pub fn central_name(text: &str) -> Option<String> {
    match text {
        "auto" => name(&gethostname().ok()?.to_string_lossy()),
        text => name(text),
    }
}
