//! Files that the process may not use: who owns them, and what to do. In a container the user of
//! the program and the owner of a mounted file often differ.

use std::fmt::{self, Display};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;

/// An I/O error of a file. If permission is denied, the text also names the owner and the mode of
/// what denies it, the user of the process, and the way out.
#[derive(Debug)]
pub struct Explained<'a> {
    /// The file.
    pub path: &'a Path,
    /// The error.
    pub error: &'a io::Error,
}

impl Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if self.error.kind() != io::ErrorKind::PermissionDenied {
            return Ok(());
        }
        // A directory that may not be searched hides what is in it, and a file that does not exist
        // is denied by its directory.
        let known = self
            .path
            .ancestors()
            .map(|path| if path == Path::new("") { Path::new(".") } else { path });
        let Some((path, found)) =
            known.into_iter().find_map(|path| Some((path, path.metadata().ok()?)))
        else {
            return Ok(());
        };
        let (path, owner, mode, user) =
            (path.display(), found.uid(), found.mode() & 0o7777, geteuid());
        write!(
            f,
            "; {path} belongs to user {owner} and has mode {mode:04o}, this program runs as user \
             {user}: change the owner or the mode (chown {user} {path}), for a mounted file on the \
             host"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(path: &str, kind: io::ErrorKind) -> String {
        Explained { path: Path::new(path), error: &io::Error::from(kind) }.to_string()
    }

    #[test]
    fn a_denied_file_is_named_with_its_owner_and_the_user_of_the_process() {
        let text = explained("/proc/1/nothing", io::ErrorKind::PermissionDenied);
        let user = geteuid();
        let reason = format!(
            "permission denied; /proc/1 belongs to user 0 and has mode 0555, this program runs as \
             user {user}: change the owner or the mode (chown {user} /proc/1), "
        );
        assert!(text.starts_with(&reason), "{text}");
        let text = explained("no-such-file", io::ErrorKind::PermissionDenied);
        assert!(text.starts_with("permission denied; . belongs to user "), "{text}");
    }

    #[test]
    fn another_error_stays_as_it_is() {
        assert_eq!(explained("/proc/1", io::ErrorKind::NotFound), "entity not found");
    }
}
