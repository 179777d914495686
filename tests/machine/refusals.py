"""What makes a refusal clear: it has its place in the file, names what it refuses, says what to write instead, ends with the exit code
of a wrong call, and is nobody's raw text (DataFusion's, Arrow's, sqlparser's).
"""

import re

PLACE = re.compile(r"\.sql:\d+:\d+: ")
WRONG_CALL = 2
# Words of the libraries below. None of them helps a person who wrote SQL.
RAW = (
    "error during planning", "arrow error", "internal error", "sql parser error", "parsererror", "tokenizererror", "expected: ",
    "failed to match any signature", "cannot be value(", "schema error", "type_coercion", "simplify_expressions", "execution error",
    "this feature is not implemented", "not implemented", "invalid function '", "external error", "context(", "datafusion",
    "unqualified field name", "require unique expression names", "consider aliasing", "window function calls cannot be nested",
    "range requires exactly one order by", "coercion from", "no field named", "compute error", "cast error", "plan(", "expr(",
    "int64(", "utf8(", "unresolved", "found: eof", "candidate functions", "logicalplan", "invalid window frame", "panicked",
    "this was likely caused by a bug", "failed to convert")
# `expected ), found x` says nothing; `expected AS, found x` does.
REMEDY = re.compile(r"; |\b(write|use|instead|drop|leave|declare|name it|cast it|give|must be|did you mean|end of the statement|unterminated"
                    r"|unexpected eof)\b|expected (?![()]|the end)")


def unclear(text: str, code: int, words: list[tuple[str, ...]]) -> str:
    """What a refusal lacks; nothing for a clear one. Of each group in `words` the text must hold one."""
    lower = text.lower()
    if code != WRONG_CALL:
        return f"exit code {code}, not {WRONG_CALL}"
    if not PLACE.search(text):
        return "no place (file:line:column)"
    for raw in RAW:
        if raw in lower:
            return f"raw text: '{raw}'"
    # The place and the file's name are no words of the reason.
    reason = PLACE.split(lower)[-1]
    for group in words:
        if not any(word in reason for word in group):
            return f"does not name {' or '.join(group)}"
    if not REMEDY.search(reason):
        return "says nothing about what to write instead"
    return ""
