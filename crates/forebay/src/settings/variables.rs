//! The `FOREBAY_<SECTION>_<KEY>` variables: put over the file's values, and those found that look
//! like one and are none. Owns no key: the known ones, and their types, come in as the table of the
//! defaults, and the variables themselves as arguments.

use anyhow::{Context, Result, bail};

/// Those of `names` that begin like the variable of a setting (`FOREBAY_<SECTION>_`) and belong to
/// none of `defaults`.
pub(super) fn unknown(defaults: &toml::Table, names: impl Iterator<Item = String>) -> Vec<String> {
    let is_setting = |key: &str, section: &toml::Value| {
        section
            .as_table()
            .is_some_and(|keys| keys.keys().any(|known| known.to_uppercase() == *key))
    };
    let is_unknown = |name: &String| {
        let Some(rest) = name.strip_prefix("FOREBAY_") else {
            return false;
        };
        defaults.iter().any(|(section, keys)| {
            let key = rest
                .strip_prefix(section.to_uppercase().as_str())
                .and_then(|rest| rest.strip_prefix('_'));
            key.is_some_and(|key| !is_setting(key, keys))
        })
    };
    let mut names: Vec<String> = names.filter(is_unknown).collect();
    names.sort_unstable();
    names
}

/// Put `FOREBAY_<SECTION>_<KEY>` over the table. The known keys are those of `defaults`, which also
/// give the types.
pub(super) fn overlay(
    table: &mut toml::Table,
    defaults: &toml::Table,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    for (section, keys) in defaults {
        for (key, default) in keys.as_table().into_iter().flatten() {
            let name = format!("FOREBAY_{}_{}", section.to_uppercase(), key.to_uppercase());
            let Some(text) = variable(&name) else {
                continue;
            };
            let value = match default {
                toml::Value::Integer(_) => text
                    .parse()
                    .map(toml::Value::Integer)
                    .with_context(|| format!("{name}={text} is not a number"))?,
                toml::Value::Float(_) => text
                    .parse()
                    .map(toml::Value::Float)
                    .with_context(|| format!("{name}={text} is not a number"))?,
                toml::Value::Boolean(_) => text
                    .parse()
                    .map(toml::Value::Boolean)
                    .with_context(|| format!("{name}={text} is not true or false"))?,
                toml::Value::Array(_) => {
                    let parts = text
                        .split(',')
                        .filter(|p| !p.is_empty())
                        .map(|p| p.trim().into());
                    toml::Value::Array(parts.collect())
                }
                _ => toml::Value::String(text),
            };
            let section = table
                .entry(section)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let Some(section) = section.as_table_mut() else {
                bail!("setting '{key}' stands outside a section")
            };
            section.insert(key.clone(), value);
        }
    }
    Ok(())
}
