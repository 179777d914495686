"""What the SQL of Forebay means where engines differ: one table of rules, read by the evaluator of this folder and by nothing of
Forebay. Who decides a rule anew changes it here, and every expectation follows.

`Rules()` is what the product promises. A rule's comment says what the other choice would be.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Rules:
    """One meaning of the SQL. Every field is a decision; its default is the one in force."""

    # INTEGER op INTEGER is BIGINT, and so is abs(i) of an INTEGER. Otherwise they are checked in 32 bits.
    integer_arithmetic_is_bigint: bool = True
    # -i of an INTEGER is BIGINT. Otherwise -(-2^31) is an overflow.
    negated_integer_is_bigint: bool = True
    # Integer x / 0 and x % 0 are an error of the row. Otherwise NULL.
    division_by_zero_is_an_error: bool = True
    # An overflow of + - * and of negation is an error of the row. Otherwise the number wraps.
    overflow_is_an_error: bool = True
    # sum of integers is exact in any order and an error where the total does not fit. Otherwise it wraps.
    integer_sum_is_exact: bool = True
    # avg, var and stddev of integers use the integers. Otherwise each value is rounded to DOUBLE first.
    integer_moments_are_exact: bool = True
    # CAST of a DOUBLE to an integer type cuts the fraction off. Otherwise it rounds, ties to even.
    cast_to_integer_truncates: bool = True
    # `error AND false` is an error, as AND is evaluated from left to right. Otherwise a false on either side beats an error.
    left_side_of_and_decides: bool = True
    # sqrt of a negative number is an error of the row. Otherwise NaN.
    root_of_negative_is_an_error: bool = True
    # ln and log of zero or less are an error of the row. Otherwise -infinity and NaN.
    logarithm_of_nonpositive_is_an_error: bool = True
    # round(x, n) looks at the exact value of the double, trunc(x, n) at the shortest decimal that names it, so that
    # trunc(-1.005, 3) is -1.005. Otherwise both look at x * 10^n as a double.
    round_is_exact: bool = True
    # Text that is cast may have white space around it, and a BOOLEAN is a beginning of true, false, yes, no, or on, off, 1, 0, as in
    # PostgreSQL. Otherwise the text has to be the value, and a BOOLEAN is true or false.
    cast_of_text_is_lenient: bool = True
    # epoch of a difference of times keeps the fraction. Otherwise whole seconds.
    epoch_of_interval_has_fraction: bool = True
    # A computed zero keeps its sign until it is compared; 1 / -0.0 is -infinity. Otherwise every computed zero is +0.0.
    computed_zero_keeps_sign: bool = True
    # A row whose WHERE, FILTER or argument fails is left out of that view, presence included. Otherwise the whole set is refused.
    a_failing_row_is_left_out: bool = True
    # A failing feature or service expression is NULL with a status. Otherwise the whole set is refused.
    a_failing_cell_is_null: bool = True

    # --- How the command says so. ---
    # Beside OUT.parquet lies OUT.errors.parquet with one row (row, feature, ..) for each cell that failed. Otherwise nothing says
    # which NULLs are errors, and they are compared as NULLs.
    errors_are_listed: bool = True
    # The manifest has "left_out": {view: rows}, of the rows that one of the spine would see. Otherwise the count is not compared.
    left_out_is_counted: bool = True


# What the binary does before the engine of own kernels: enough to check the evaluator itself against it on tame cases.
BEFORE = Rules(
    integer_arithmetic_is_bigint=False, negated_integer_is_bigint=False, cast_of_text_is_lenient=False, overflow_is_an_error=False,
    integer_sum_is_exact=False, integer_moments_are_exact=False, root_of_negative_is_an_error=True,
    logarithm_of_nonpositive_is_an_error=False, round_is_exact=False, epoch_of_interval_has_fraction=False,
    a_failing_row_is_left_out=False, a_failing_cell_is_null=False, errors_are_listed=False, left_out_is_counted=False)

PROMISED = Rules()
