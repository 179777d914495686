//! What to write in place of a function that people try and that there is none of: names of other
//! systems, clocks, what DataFusion has and a definition may not use; and the nearest name, for a
//! slip of the hand.

use super::near::nearest;
use super::{DATE_PART_EPOCH, all};

const CLOCK: &str = "a value must not depend on when it is computed; write the event's time \
                     column, or request_time() in a service";
const ARRAYS: &str = "of arrays there are a[i], cardinality, array_contains, array_position, \
                      array_to_string and ARRAY[..]; write it with them, or one column for each element";
const STRUCTS: &str = "there are no structs or maps in expressions; write one column for each \
                       field, or keep them as JSON text and read it with json_value(text, '$.a')";
const RANDOM: &str = "a value must be the same each time it is computed; write hash(column) for a \
                      value that is spread evenly";
const BUILD: &str = "a value must not depend on the program that computes it; leave it out";
const PART: &str = "write date_part('year', time), or another part";

/// What to write for quantiles.
pub(crate) const QUANTILES: &str = "quantiles have no exact state of bounded size; write avg(x) and stddev(x), or \
                                    count(*) FILTER (WHERE x < limit)";
const DISTINCT: &str = "distinct values have no exact state of bounded size; write count(*) FILTER (WHERE x = 'a') for \
                        each value";

/// Names and what to write, each name once.
const INSTEAD: &[(&[&str], &str)] = &[
    (
        &["if", "iff", "iif"],
        "write CASE WHEN condition THEN a ELSE b END",
    ),
    (&["isnull"], "write a IS NULL, or coalesce(a, b)"),
    (&["zeroifnull"], "write coalesce(a, 0)"),
    (&["nullifzero"], "write nullif(a, 0)"),
    (&["variance", "var_sample", "variance_samp"], "write var(x)"),
    (&["variance_pop", "var_population"], "write var_pop(x)"),
    (&["std", "stdev"], "write stddev(x)"),
    (
        &["count_if", "countif"],
        "write count(*) FILTER (WHERE condition)",
    ),
    (
        &["sum_if", "sumif"],
        "write sum(x) FILTER (WHERE condition)",
    ),
    (
        &["avg_if", "avgif"],
        "write avg(x) FILTER (WHERE condition)",
    ),
    (&["mean", "average"], "write avg(x)"),
    (
        &[
            "approx_count_distinct",
            "count_distinct",
            "distinct_count",
            "approx_top_k",
            "top_k",
            "topk",
            "mode",
            "histogram",
            "approx_most_frequent",
        ],
        DISTINCT,
    ),
    (
        &[
            "approx_percentile",
            "percentile",
            "quantile",
            "approx_quantile",
            "percentile_approx",
        ],
        QUANTILES,
    ),
    (
        &["arg_max", "argmax", "max_by", "arg_min", "argmin", "min_by"],
        "write last_value(x) for the value of the newest event, and max(y) or min(y) beside it",
    ),
    (
        &["every"],
        "write min(x) of a BOOLEAN: true where all are (bool_and)",
    ),
    (
        &["some", "any"],
        "write max(x) of a BOOLEAN: true where one is (bool_or)",
    ),
    (&["count_where"], "write count(x) FILTER (WHERE condition)"),
    (&["sum_where"], "write sum(x) FILTER (WHERE condition)"),
    (&["avg_where"], "write avg(x) FILTER (WHERE condition)"),
    (
        &["avg_cate", "sum_cate", "count_cate", "min_cate", "max_cate"],
        "write avg(x) FILTER (WHERE category = 'a'), a feature for each category",
    ),
    (
        &["skewness", "skew", "kurtosis"],
        "write its moments: avg(x), stddev(x) and avg(x * x * x)",
    ),
    (&["product"], "write exp(sum(ln(x))), of what is above zero"),
    (
        &[
            "now",
            "current_timestamp",
            "current_date",
            "current_time",
            "localtimestamp",
            "localtime",
            "getdate",
            "sysdate",
            "today",
            "transaction_timestamp",
            "statement_timestamp",
            "clock_timestamp",
            "unix_timestamp",
            "proctime",
        ],
        CLOCK,
    ),
    (
        &["random", "rand", "uuid", "gen_random_uuid", "newid"],
        RANDOM,
    ),
    (
        &[
            "version",
            "arrow_typeof",
            "typeof",
            "pg_typeof",
            "arrow_metadata",
            "arrow_field",
            "with_metadata",
            "current_user",
            "current_database",
            "current_schema",
            "input_file_name",
        ],
        BUILD,
    ),
    (
        &[
            "arrow_cast",
            "cast_to_type",
            "convert",
            "to_number",
            "to_double",
        ],
        "write CAST(x AS TYPE)",
    ),
    (
        &[
            "arrow_try_cast",
            "try_cast_to_type",
            "safe_cast",
            "try_convert",
        ],
        "write TRY_CAST(x AS TYPE)",
    ),
    (
        &["to_varchar", "to_text", "str"],
        "write CAST(x AS VARCHAR)",
    ),
    (
        &["age", "timediff"],
        "write a - b, or date_diff('day', b, a)",
    ),
    (
        &["timestampdiff", "months_between", "date_sub_days"],
        "write date_diff('month', a, b)",
    ),
    (
        &[
            "dateadd",
            "date_add",
            "timestampadd",
            "add_months",
            "date_sub",
            "adddate",
            "subdate",
        ],
        "write time + INTERVAL '1' DAY, or time - INTERVAL '1' DAY",
    ),
    (
        &[
            "year",
            "quarter",
            "month",
            "week",
            "weekofyear",
            "day",
            "dayofmonth",
            "dayofweek",
            "dayofyear",
            "weekday",
            "hour",
            "minute",
            "second",
            "millisecond",
            "microsecond",
        ],
        PART,
    ),
    (&["dayname"], "write to_char(time, '%A')"),
    (&["monthname"], "write to_char(time, '%B')"),
    (
        &["last_day"],
        "write date_trunc('month', time) + INTERVAL '1' MONTH - INTERVAL '1' DAY",
    ),
    (&["date", "to_date", "trunc_date"], "write CAST(x AS DATE)"),
    (
        &["to_time", "make_time"],
        "there is no TIME; write date_part('hour', time) and the like",
    ),
    (
        &[
            "convert_timezone",
            "to_local_time",
            "convert_tz",
            "from_utc_timestamp",
            "timezone",
        ],
        "write time AT TIME ZONE 'Europe/Berlin'",
    ),
    (
        &["to_utc_timestamp"],
        "write from_time_zone(time, 'Europe/Berlin')",
    ),
    (
        &["time_bucket", "tumble", "hop"],
        "write date_bin(INTERVAL '5' MINUTE, time)",
    ),
    (
        &["to_timestamp_nanos"],
        "times have microseconds; write to_timestamp_micros(n / 1000)",
    ),
    (
        &["strptime", "str_to_date", "parse_timestamp"],
        "write to_timestamp(text) for RFC 3339",
    ),
    (&["mod"], "write a % b"),
    (&["div"], "write a / b"),
    (&["square"], "write x * x"),
    (&["ln1p", "log1p"], "write ln(1 + x)"),
    (
        &["rlike", "regexp", "regexp_matches", "regexp_contains"],
        "write regexp_like(text, pattern)",
    ),
    (
        &["regexp_match", "regexp_substr", "regexp_extract_all"],
        "write regexp_extract(text, pattern, group)",
    ),
    (
        &["regexp_split_to_array", "string_split", "split"],
        "write split_part(text, ',', n)",
    ),
    (&["string_to_array"], "write split_part(text, ',', n)"),
    (&["len"], "write length(text)"),
    (&["lcase"], "write lower(text)"),
    (&["ucase"], "write upper(text)"),
    (&["mid"], "write substr(text, start, count)"),
    (&["charindex", "locate"], "write strpos(text, part)"),
    (&["char"], "write chr(number)"),
    (&["ord", "unicode"], "write ascii(text)"),
    (&["hex"], "write to_hex(number), or encode(text, 'hex')"),
    (&["unhex"], "write decode(text, 'hex')"),
    (&["base64", "to_base64"], "write encode(text, 'base64')"),
    (&["unbase64", "from_base64"], "write decode(text, 'base64')"),
    (
        &["sha1", "sha224", "sha384", "sha512", "sha2", "digest"],
        "write sha256(text)",
    ),
    (
        &[
            "crc32",
            "xxhash",
            "xxhash64",
            "xxhash_64",
            "murmur3_32",
            "farm_fingerprint",
        ],
        "write hash(x)",
    ),
    (
        &[
            "json_extract",
            "json_query",
            "json_extract_path",
            "json_as_text",
            "get_json_object",
            "json_get_json",
        ],
        "write json_get(text, '$.a.b')",
    ),
    (
        &[
            "json_extract_string",
            "json_extract_scalar",
            "json_extract_path_text",
            "json_get_str",
        ],
        "write json_value(text, '$.a.b')",
    ),
    (
        &["json_array_length", "jsonb_array_length"],
        "write json_length(text)",
    ),
    (
        &["json_contains", "jsonb_exists"],
        "write json_exists(text, '$.a')",
    ),
    (
        &["st_distance", "st_distance_sphere", "earth_distance"],
        "write haversine(lat1, lon1, lat2, lon2)",
    ),
    (
        &[
            "array",
            "range",
            "generate_series",
            "flatten",
            "unnest",
            "cosine_distance",
            "inner_product",
            "empty",
        ],
        ARRAYS,
    ),
    (
        &[
            "struct",
            "row",
            "named_struct",
            "get_field",
            "map",
            "make_map",
            "element_at",
            "map_extract",
            "map_keys",
            "map_values",
            "map_entries",
            "union_extract",
            "union_tag",
        ],
        STRUCTS,
    ),
];

/// What to write in place of a call of `name` (lower case); None where nothing is known.
pub(crate) fn instead(name: &str) -> Option<&'static str> {
    if name.starts_with("array_") || name.starts_with("list_") {
        return Some(ARRAYS);
    }
    INSTEAD
        .iter()
        .find(|(names, _)| names.contains(&name))
        .map(|(_, words)| *words)
}

/// The function whose name is nearest to `name`, where one is near.
pub(crate) fn nearest_function(name: &str) -> Option<&'static str> {
    let names = all().flat_map(|own| std::iter::once(&own.name).chain(own.aliases));
    nearest(name, names.copied().filter(|name| *name != DATE_PART_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::function;
    use super::*;

    /// Functions that are no entry of the registry but operators, of which advice may speak.
    const OPERATORS: &[&str] = &[
        "coalesce",
        "nullif",
        "request_time",
        "count",
        "sum",
        "avg",
        "var",
        "var_pop",
        "min",
        "max",
        "last_value",
    ];

    #[test]
    fn advice_is_given_once_for_names_that_there_are_none_of() {
        let mut names = BTreeSet::new();
        for (own, _) in INSTEAD {
            for name in *own {
                assert!(names.insert(*name), "{name} twice");
                assert!(function(name).is_none(), "{name} is a function");
            }
        }
        assert_eq!(
            instead("if"),
            Some("write CASE WHEN condition THEN a ELSE b END")
        );
        assert_eq!(instead("array_repeat"), Some(ARRAYS));
        assert_eq!(instead("abs"), None);
    }

    #[test]
    fn advice_speaks_of_functions_that_there_are() {
        let calls = regex::Regex::new(r"([a-z_0-9]+)\(").expect("a pattern");
        for (_, words) in INSTEAD {
            for call in calls.captures_iter(words) {
                let name = &call[1];
                let known =
                    function(name).is_some() || OPERATORS.contains(&name) || name == "stddev";
                assert!(known, "{words}: {name}");
            }
        }
    }

    #[test]
    fn the_nearest_name_is_found_where_one_is_near() {
        assert_eq!(nearest_function("date_prat"), Some("date_part"));
        assert_eq!(nearest_function("substrng"), Some("substring"));
        assert_eq!(nearest_function("lenght"), Some("length"));
        assert_eq!(nearest_function("frobnicate"), None);
        assert_eq!(nearest_function("x"), None);
        assert_eq!(nearest_function(&"a".repeat(1_000_000)), None);
    }
}
