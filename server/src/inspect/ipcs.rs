//! Shared memory segments in the columns of `ipcs -m`, with the objects inside and their values.

use std::fmt::Write;

use multiprocessing::{Listing, Segment};
use nix::unistd::{Uid, User};

/// Maximum length of a value in characters. Longer ones, which are arrays, are cut.
const MAX_VALUE_CHARS: usize = 120;

/// Minimum width of the column of kinds.
const KIND_CHARS: usize = 9;

/// Returns all listings as a table in the form of `ipcs`.
pub fn table(listings: &[Listing]) -> String {
    let mut text = format!(
        "\n------ POSIX Shared Memory Segments --------\n{:<24} {:<10} {:<10} {:<10} {:<10} {:<12}\n",
        "name", "owner", "perms", "bytes", "nattch", "status"
    );
    for listing in listings {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "{:<24} {:<10} {:<10} {:<10} {:<10} {:<12}",
            format!("/{}", listing.name),
            owner(listing.owner),
            format!("{:o}", listing.permissions),
            listing.bytes,
            listing.attached.len(),
            status(listing),
        );
        match &listing.segment {
            Ok(segment) => objects(segment, &mut text),
            Err(reason) => {
                let _ = writeln!(text, "    {reason}");
            }
        }
    }
    text.push('\n');
    text
}

fn objects(segment: &Segment, text: &mut String) {
    let kinds = segment.objects().iter().map(|object| object.kind.to_string().len());
    let width = kinds.fold(KIND_CHARS, usize::max);
    let _ = writeln!(
        text,
        "    {:<20} {:<width$} {:<5} {:>6}  value",
        "object", "kind", "type", "length"
    );
    for object in segment.objects() {
        let mut value = segment.snapshot(object).to_string();
        if let Some((cut, _)) = value.char_indices().nth(MAX_VALUE_CHARS) {
            value.truncate(cut);
            value.push('…');
        }
        let _ = writeln!(
            text,
            "    {:<20} {:<width$} {:<5} {:>6}  {value}",
            object.name, object.kind, object.element, object.length
        );
    }
}

/// Returns the user's name, or the user id if the system has no name for it.
fn owner(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// Returns `alive` if the creator lives, `orphaned` if only its children do, `stale` if no process
/// does, and `unreadable` if the segment cannot be opened.
fn status(listing: &Listing) -> String {
    match &listing.segment {
        Ok(segment) if segment.creator_is_alive() => {
            format!("alive (creator {})", segment.creator())
        }
        Ok(_) if listing.is_stale() => "stale".to_owned(),
        Ok(_) => "orphaned".to_owned(),
        Err(_) => "unreadable".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use multiprocessing::{Plan, SegmentName};

    use super::*;

    /// Returns where the column of types begins in each line.
    fn types(plan: &Plan) -> Vec<Option<usize>> {
        let name = SegmentName::new(&format!("ipcs-test.{}", std::process::id())).unwrap();
        let mut text = String::new();
        objects(&Segment::create(&name, plan).unwrap(), &mut text);
        let column = |line: &str| line.find(" type ").or(line.find(" u8 ")).or(line.find(" u64 "));
        text.lines().map(column).collect()
    }

    #[test]
    fn the_column_of_kinds_is_as_wide_as_the_longest_kind_in_the_segment() {
        let plan = Plan::new().lock("lock").value::<u64>("value");
        assert_eq!(types(&plan), [Some(4 + 20 + 1 + 9); 3]);
        let longest = "BoundedSemaphore".len();
        assert_eq!(types(&plan.bounded_semaphore("gate", 2)), [Some(4 + 20 + 1 + longest); 4]);
    }
}
