//! How near two names are, for the "did you mean" of an error message.

/// Most single-letter edits between a mistyped name and the one that was probably meant.
const NEAR: usize = 3;

/// The candidate nearest to `name`, letter case aside, when one is near enough to have been meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // A short name is within a few edits of anything: at most a third of it may differ.
    let allowed = NEAR.min(name.chars().count() / 3);
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove or replace to turn one name into the other (Levenshtein), letter case aside.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    // `row[j]` = edits from what has been read of `left` to the first j letters of `right`.
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, letter) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("PORT", "port"), 0);
    }

    #[test]
    fn a_typing_error_finds_its_name_and_another_word_finds_nothing() {
        let names = ["SERVER_PORT", "SERVER_IP", "SERVER_GRACE"];
        assert_eq!(nearest("server_prot", names.into_iter()), Some("SERVER_PORT"));
        assert_eq!(nearest("SERVER_GRACES", names.into_iter()), Some("SERVER_GRACE"));
        assert_eq!(nearest("colour", names.into_iter()), None);
        assert_eq!(nearest("x", names.into_iter()), None);
    }
}
