//! Segments in the columns of `ipcs -m`, with the objects inside and their values.

use std::fmt::Write;

use nix::unistd::{Uid, User};

use super::{Listing, Segment, View};

/// Maximum length of a value in characters. Longer ones, which are arrays, are cut.
const MAX_VALUE_CHARS: usize = 120;

/// Minimum width of the column of kinds.
const KIND_CHARS: usize = 9;

impl Listing {
    /// Returns listings as a table in the columns of `ipcs -m`, with the objects of each segment.
    /// An array is cut after 120 characters.
    pub fn table(listings: &[Self]) -> String {
        Self::lines(listings, objects)
    }

    /// Works like [`table`](Self::table), without the objects.
    pub fn summary(listings: &[Self]) -> String {
        Self::lines(listings, |_, _| {})
    }

    fn lines(listings: &[Self], objects: impl Fn(&View<Segment>, &mut String)) -> String {
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
                listing.owner_name(),
                format!("{:o}", listing.permissions),
                listing.bytes,
                listing.attached.len(),
                listing.status(),
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

    /// Returns the name of the owner, or the user id if the system has no name for it.
    pub fn owner_name(&self) -> String {
        let user = User::from_uid(Uid::from_raw(self.owner)).ok().flatten();
        user.map_or_else(|| self.owner.to_string(), |user| user.name)
    }

    /// Returns `alive (creator PID)` if the creator lives, `orphaned` if only other processes use
    /// the segment, `stale` if no process does, and `unreadable` if it cannot be opened.
    pub fn status(&self) -> String {
        match &self.segment {
            Ok(segment) if segment.creator_is_alive() => {
                format!("alive (creator {})", segment.creator())
            }
            Ok(_) if self.is_stale() => "stale".to_owned(),
            Ok(_) => "orphaned".to_owned(),
            Err(_) => "unreadable".to_owned(),
        }
    }
}

fn objects(segment: &View<Segment>, text: &mut String) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, SegmentName};

    /// Returns where the column of types begins in each line.
    fn types(plan: &Plan) -> Vec<Option<usize>> {
        let name = SegmentName::new(&format!("mp-unit.table.{}", std::process::id())).unwrap();
        let mut text = String::new();
        let _segment = Segment::create(&name, plan).unwrap();
        objects(&View::open(&name).unwrap(), &mut text);
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
