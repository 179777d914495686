//! Which field a column may have been meant for: names that differ in case or in separators come
//! first, then those that few letters turn into it. Pure.

/// Names that are told at most.
const NEAREST_MAX: usize = 3;

/// The names among `names` that are nearest to `column`, nearest first; none where none is near.
pub(super) fn nearest<'a>(column: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = plain(column);
    // A third of the letters may differ: more would tie unrelated names together.
    let near = (wanted.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = names
        .map(|name| (distance(&wanted, &plain(name)), name))
        .filter(|(distance, _)| *distance <= near)
        .collect();
    found.sort_unstable();
    found
        .into_iter()
        .take(NEAREST_MAX)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// `name` without case and separators.
fn plain(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Levenshtein's distance: letters to insert, delete or replace.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_comes_first() {
        let near = |column: &str, names: &[&str]| nearest(column, names.iter().copied());
        assert_eq!(
            near("userid", &["amount", "userId", "user"]),
            ["userId", "user"]
        );
        assert_eq!(near("user_id", &["userId", "id"]), ["userId"]);
        assert_eq!(near("amuont", &["amount"]), ["amount"]);
        assert_eq!(near("at", &["timestamp", "amount"]), Vec::<String>::new());
        assert_eq!(distance(&plain("kitten"), &plain("sitting")), 3);
        assert_eq!(distance(&[], &plain("abc")), 3);
    }
}
