//! The name that is nearest to one that there is none of: for refusals of functions, units, parts
//! of times and time zones, so that a slip of the hand is answered with what was meant.

/// The candidate that differs from `word` in case alone, or in one letter of three at most.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // What is longer is no slip of a name, and its distance would take long.
    const MAX_BYTES: usize = 64;
    if word.len() > MAX_BYTES {
        return None;
    }
    let word = word.to_lowercase();
    let limit = word.chars().count() / 3;
    candidates
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete, replace, or exchange with the next.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let kept = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut cost = kept.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(rows[i - 2][j - 2] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_found_and_other_words_are_not() {
        let names = || ["minute", "month", "hour", "UTC"].into_iter();
        for (word, name) in [
            ("minuet", Some("minute")),
            ("mont", Some("month")),
            ("HOUR", Some("hour")),
            ("utc", Some("UTC")),
            ("fortnight", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names()), name, "{word}");
        }
    }
}
