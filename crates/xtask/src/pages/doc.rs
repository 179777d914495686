//! Doc comments in the text of a Rust file, found by the line of what they belong to. All pages
//! take their sentences from here.

/// The doc comment that ends right before line `at` of `lines`, joined to one paragraph.
pub(super) fn doc_before(lines: &[&str], at: usize) -> String {
    let is_doc = |line: &&&str| line.trim_start().starts_with("///");
    let is_attribute = |line: &&&str| line.trim_start().starts_with("#[");
    let above = lines[..at].iter().rev().skip_while(is_attribute);
    let mut doc: Vec<&str> = above
        .take_while(is_doc)
        .map(|line| line.trim_start().trim_start_matches('/').trim())
        .collect();
    doc.reverse();
    doc.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doc_comment_is_one_paragraph_without_attributes() {
        let lines = [
            "/// Other.",
            "",
            "/// A b",
            "    /// c.",
            "#[serde]",
            "x: u8,",
        ];
        assert_eq!(doc_before(&lines, 5), "A b c.");
        assert_eq!(doc_before(&lines, 2), "");
    }
}
