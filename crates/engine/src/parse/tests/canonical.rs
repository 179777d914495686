//! The canonical text of a statement: no two texts of different tokens have one.

use proptest::prelude::*;

use super::*;
use crate::parse::statement::canonical_text;

/// Tokens as the parser gets them.
fn tokens(text: &str) -> Vec<TokenWithSpan> {
    let tokens = Tokenizer::new(&DIALECT, text).tokenize_with_location();
    split_statements(tokens.unwrap_or_else(|e| panic!("{text}: {e}"))).concat()
}

/// A piece of a statement's text, and whether it is of a word without quotes.
fn piece() -> impl Strategy<Value = String> {
    let inside = "[ab,' \"`\\\\;\n]{0,6}";
    let quoted = |quote: char, prefix: &'static str| {
        inside.prop_map(move |text: String| {
            let doubled = text.replace(quote, &format!("{quote}{quote}"));
            format!("{prefix}{quote}{doubled}{quote}")
        })
    };
    prop_oneof![
        quoted('\'', ""),
        quoted('"', "").prop_filter("a name has a letter", |name| name.len() > 2),
        quoted('\'', "N"),
        "[abAB]{1,3}",
        "[0-9]{1,3}",
        prop_oneof![
            Just(","),
            Just("("),
            Just(")"),
            Just("||"),
            Just("<>"),
            Just(".")
        ]
        .prop_map(str::to_owned),
    ]
}

proptest! {
    /// What is read from the canonical text is what it was made of, but for the case of words
    /// without quotes; so texts of one canonical text have the same tokens.
    #[test]
    fn the_canonical_text_is_read_as_the_tokens_that_it_is_of(pieces in prop::collection::vec(piece(), 1..8)) {
        let written = tokens(&pieces.join(" "));
        let canonical = canonical_text(&written, false);
        let read = tokens(&canonical);
        let plain = |tokens: &[TokenWithSpan]| -> Vec<String> {
            tokens
                .iter()
                .map(|token| match &token.token {
                    Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
                    other => format!("{other:?}"),
                })
                .collect()
        };
        prop_assert_eq!(plain(&read), plain(&written), "{}", canonical);
        prop_assert_eq!(canonical_text(&read, false), canonical);
    }
}

#[test]
fn quotes_inside_of_quotes_are_told_from_their_ends() {
    let canonical = |text: &str| canonical_text(&tokens(text), false);
    let pairs = [
        ("s IN ('a', 'b')", "s IN ('a'' , ''b')"),
        ("\"a\" , \"b\"", "\"a\"\" , \"\"b\""),
        ("E'a' , E'b'", "E'a'' , E''b'"),
        ("X'a' , 'b'", "X'a'' , ''b'"),
        ("`a` , `b`", "`a`` , ``b`"),
    ];
    for (one, other) in pairs {
        assert_ne!(canonical(one), canonical(other), "{one}");
    }
    // Digests of texts without such quotes are those of the first builds.
    assert_eq!(
        canonical("SELECT 'a b', \"C\", N'x', E'y\\n' FROM T"),
        "select 'a b' , \"C\" , N'x' , E'y\n' from t"
    );
}
