//! What applying definitions changes, as text: one paragraph for each object that is made, replaced
//! or dropped, with the lines of its SQL that come and go. Pure: changes in, text out.

use std::fmt::Write as _;

use forebay_engine::{Change, ChangeAction};

/// Pairs of lines above which two texts are not aligned but shown one after the other.
const ALIGN_MAX_CELLS: usize = 4_000_000;

/// A line of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Kept(&'a str),
    Gone(&'a str),
    Come(&'a str),
}

/// The changes in words, without those that change nothing, and the counts in the last line.
pub(super) fn render(changes: &[Change]) -> String {
    let mut out = String::new();
    for change in changes {
        render_change(&mut out, change);
    }
    out.push_str(&summary(changes));
    out.push('\n');
    out
}

/// Whether anything is made, replaced or dropped.
pub(super) fn changes_anything(changes: &[Change]) -> bool {
    changes
        .iter()
        .any(|change| change.action != ChangeAction::Unchanged)
}

/// How many objects each action concerns.
fn summary(changes: &[Change]) -> String {
    let count = |action| {
        changes
            .iter()
            .filter(|change| change.action == action)
            .count()
    };
    format!(
        "{} created, {} replaced, {} dropped, {} unchanged",
        count(ChangeAction::Create),
        count(ChangeAction::Replace),
        count(ChangeAction::Drop),
        count(ChangeAction::Unchanged)
    )
}

fn render_change(out: &mut String, change: &Change) {
    let sign = match change.action {
        ChangeAction::Create => '+',
        ChangeAction::Replace => '~',
        ChangeAction::Drop => '-',
        ChangeAction::Unchanged => return,
    };
    let note = if change.note.is_empty() {
        String::new()
    } else {
        format!(": {}", change.note)
    };
    let Change {
        kind,
        name,
        version,
        ..
    } = change;
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes any text");
    line(format!("{sign} {kind} {name} (version {version}){note}"));
    for part in lines(
        change.before.as_deref().unwrap_or_default(),
        change.after.as_deref().unwrap_or_default(),
    ) {
        line(match part {
            Line::Kept(text) => format!("      {text}").trim_end().to_owned(),
            Line::Gone(text) => format!("    - {text}"),
            Line::Come(text) => format!("    + {text}"),
        });
    }
    for warning in &change.warnings {
        line(format!("    ! {warning}"));
    }
    line(String::new());
}

/// The lines of both texts: a longest common subsequence is kept.
fn lines<'a>(before: &'a str, after: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old_middle, new_middle) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut out: Vec<Line<'a>> = old[..head].iter().copied().map(Line::Kept).collect();
    if old_middle.len().saturating_mul(new_middle.len()) > ALIGN_MAX_CELLS {
        out.extend(old_middle.iter().copied().map(Line::Gone));
        out.extend(new_middle.iter().copied().map(Line::Come));
    } else {
        align(old_middle, new_middle, &mut out);
    }
    out.extend(old[old.len() - tail..].iter().copied().map(Line::Kept));
    out
}

/// Longest common subsequence by dynamic programming over suffixes (Wagner and Fischer, 1974).
fn align<'a>(old: &[&'a str], new: &[&'a str], out: &mut Vec<Line<'a>>) {
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push(Line::Kept(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            out.push(Line::Gone(old[i]));
            i += 1;
        } else {
            out.push(Line::Come(new[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_engine::ObjectKind;
    use proptest::prelude::*;

    use super::*;

    fn change(
        action: ChangeAction,
        before: Option<&str>,
        after: Option<&str>,
        note: &str,
    ) -> Change {
        Change {
            action,
            kind: ObjectKind::View,
            name: "airport_traffic".into(),
            version: 2,
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            note: note.into(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn what_a_view_cannot_do_is_told_behind_its_lines() {
        let mut created = change(ChangeAction::Create, None, Some("SELECT a"), "");
        created.warnings = vec!["12 rows would be left out: 1 / x: division by zero".into()];
        let shown = render(&[created]);
        let expected = "    + SELECT a\n    ! 12 rows would be left out: 1 / x: division by zero\n";
        assert!(shown.contains(expected), "{shown}");
    }

    #[test]
    fn each_action_is_shown_with_its_lines() {
        let changes = [
            change(ChangeAction::Create, None, Some("SELECT a\nFROM s"), ""),
            change(
                ChangeAction::Replace,
                Some("SELECT a,\n  b\nFROM s"),
                Some("SELECT a,\n  c\nFROM s"),
                "a new version",
            ),
            change(ChangeAction::Drop, Some("SELECT a"), None, ""),
            change(
                ChangeAction::Unchanged,
                Some("SELECT a"),
                Some("SELECT a"),
                "",
            ),
        ];
        let expected = "\
+ feature view airport_traffic (version 2)
    + SELECT a
    + FROM s

~ feature view airport_traffic (version 2): a new version
      SELECT a,
    -   b
    +   c
      FROM s

- feature view airport_traffic (version 2)
    - SELECT a

1 created, 1 replaced, 1 dropped, 1 unchanged
";
        assert_eq!(render(&changes), expected);
    }

    #[test]
    fn texts_that_are_too_long_to_align_are_shown_whole() {
        let (old, new) = ("a\n".repeat(3_000), "b\n".repeat(3_000));
        let shown = lines(&old, &new);
        assert_eq!(shown.len(), 6_000);
        assert_eq!((shown[0], shown[5_999]), (Line::Gone("a"), Line::Come("b")));
    }

    proptest! {
        /// Without the new lines it is the old text, without the old ones the new text.
        #[test]
        fn a_diff_holds_both_texts(old in "[ab\n]{0,30}", new in "[ab\n]{0,30}") {
            let shown = lines(&old, &new);
            let side = |with: fn(&Line<'_>) -> bool| -> Vec<String> {
                let text = |line: &Line<'_>| match line { Line::Kept(t) | Line::Gone(t) | Line::Come(t) => (*t).to_owned() };
                shown.iter().filter(|line| with(line)).map(text).collect()
            };
            prop_assert_eq!(side(|l| !matches!(l, Line::Come(_))), old.lines().map(str::to_owned).collect::<Vec<_>>());
            prop_assert_eq!(side(|l| !matches!(l, Line::Gone(_))), new.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }
}
