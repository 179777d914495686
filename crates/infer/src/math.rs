//! `expf` and `logf` for the score path, equal to glibc's to the bit.
//!
//! XGBoost calls the platform's `expf` and `logf`, so a probability equals the training library's
//! only when these do. The algorithm and the tables are those of Arm's optimized-routines
//! (`math/expf.c`, `math/logf.c`, the source of glibc's since 2.27): table look-up, a cubic in f64,
//! one final rounding to f32. Only f64 additions and multiplications in a fixed order are used, no
//! fused ones, so that every CPU and GPU gives the same bits. The score path must never call
//! `f32::exp` or `f32::ln`: those are whatever the platform's libm is.

// The constants are written with all the digits of their source (hexadecimal floats there, bit
// patterns here).
const EXP_TABLE_BITS: u32 = 5;
const EXP_TABLE_LEN: u64 = 1 << EXP_TABLE_BITS;

/// `bits(2^(i/32)) - (i << 47)`.
const EXP_TABLE: [u64; EXP_TABLE_LEN as usize] = [
    0x3ff0_0000_0000_0000,
    0x3fef_d9b0_d315_8574,
    0x3fef_b558_6cf9_890f,
    0x3fef_9301_d012_5b51,
    0x3fef_72b8_3c7d_517b,
    0x3fef_5487_3168_b9aa,
    0x3fef_387a_6e75_6238,
    0x3fef_1e9d_f51f_dee1,
    0x3fef_06fe_0a31_b715,
    0x3fee_f1a7_373a_a9cb,
    0x3fee_dea6_4c12_3422,
    0x3fee_ce08_6061_892d,
    0x3fee_bfda_d536_2a27,
    0x3fee_b42b_569d_4f82,
    0x3fee_ab07_dd48_5429,
    0x3fee_a47e_b03a_5585,
    0x3fee_a09e_667f_3bcd,
    0x3fee_9f75_e8ec_5f74,
    0x3fee_a114_73eb_0187,
    0x3fee_a589_994c_ce13,
    0x3fee_ace5_422a_a0db,
    0x3fee_b737_b0cd_c5e5,
    0x3fee_c491_82a3_f090,
    0x3fee_d503_b23e_255d,
    0x3fee_e89f_995a_d3ad,
    0x3fee_ff76_f2fb_5e47,
    0x3fef_199b_dd85_529c,
    0x3fef_3720_dcef_9069,
    0x3fef_5818_dcfb_a487,
    0x3fef_7c97_337b_9b5f,
    0x3fef_a4af_a2a4_90da,
    0x3fef_d076_5b6e_4540,
];

/// `0x1.8p+52`: adding it rounds to an integer that stands in the low bits.
const EXP_SHIFT: f64 = f64::from_bits(0x4338_0000_0000_0000);
/// `0x1.71547652b82fep+0 * 32`, 32 over ln 2.
const EXP_INV_LN2_SCALED: f64 = f64::from_bits(0x4047_1547_652b_82fe);
/// `0x1.c6af84b912394p-5 / 32^3`, `0x1.ebfce50fac4f3p-3 / 32^2`, `0x1.62e42ff0c52d6p-1 / 32`.
const EXP_POLY: [f64; 3] = [
    f64::from_bits(0x3ebc_6af8_4b91_2394),
    f64::from_bits(0x3f2e_bfce_50fa_c4f3),
    f64::from_bits(0x3f96_2e42_ff0c_52d6),
];

/// e to the power `x`, glibc's `expf`.
#[must_use]
pub(crate) fn expf(x: f32) -> f32 {
    /// Greatest x with a finite result, `0x1.62e42ep6`.
    const OVERFLOW: f32 = f32::from_bits(0x42b1_7217);
    /// Below this the result rounds to zero, `-0x1.9fe368p6`.
    const UNDERFLOW: f32 = f32::from_bits(0xc2cf_f1b4);
    if x.is_nan() {
        return x;
    }
    if x > OVERFLOW {
        return f32::INFINITY;
    }
    if x < UNDERFLOW {
        return 0.0;
    }
    let scaled = EXP_INV_LN2_SCALED * f64::from(x);
    let shifted = scaled + EXP_SHIFT;
    let k = shifted.to_bits();
    let r = scaled - (shifted - EXP_SHIFT);
    let table = EXP_TABLE[(k % EXP_TABLE_LEN) as usize];
    let s = f64::from_bits(table.wrapping_add(k << (52 - EXP_TABLE_BITS)));
    let high = EXP_POLY[0] * r + EXP_POLY[1];
    let square = r * r;
    let low = EXP_POLY[2] * r + 1.0;
    ((high * square + low) * s) as f32
}

const LOG_TABLE_BITS: u32 = 4;
const LOG_TABLE_LEN: u32 = 1 << LOG_TABLE_BITS;

/// `(1/c, ln c)` for sixteen c over [0.7, 1.4).
const LOG_TABLE: [(f64, f64); LOG_TABLE_LEN as usize] = [
    (
        f64::from_bits(0x3ff6_61ec_79f8_f3be),
        f64::from_bits(0xbfd5_7bf7_808c_aade),
    ),
    (
        f64::from_bits(0x3ff5_71ed_4aaf_883d),
        f64::from_bits(0xbfd2_bef0_a7c0_6ddb),
    ),
    (
        f64::from_bits(0x3ff4_9539_f0f0_10b0),
        f64::from_bits(0xbfd0_1eae_7f51_3a67),
    ),
    (
        f64::from_bits(0x3ff3_c995_b0b8_0385),
        f64::from_bits(0xbfcb_31d8_a682_24e9),
    ),
    (
        f64::from_bits(0x3ff3_0d19_0c88_64a5),
        f64::from_bits(0xbfc6_574f_0ac0_7758),
    ),
    (
        f64::from_bits(0x3ff2_5e22_7b0b_8ea0),
        f64::from_bits(0xbfc1_aa2b_c79c_8100),
    ),
    (
        f64::from_bits(0x3ff1_bb4a_4a1a_343f),
        f64::from_bits(0xbfba_4e76_ce8c_0e5e),
    ),
    (
        f64::from_bits(0x3ff1_2358_f08a_e5ba),
        f64::from_bits(0xbfb1_973c_5a61_1ccc),
    ),
    (
        f64::from_bits(0x3ff0_953f_4199_00a7),
        f64::from_bits(0xbfa2_52f4_38e1_0c1e),
    ),
    (1.0, 0.0),
    (
        f64::from_bits(0x3fee_608c_fd9a_47ac),
        f64::from_bits(0x3faa_a5aa_5df2_5984),
    ),
    (
        f64::from_bits(0x3fec_a4b3_1f02_6aa0),
        f64::from_bits(0x3fbc_5e53_aa36_2eb4),
    ),
    (
        f64::from_bits(0x3feb_2036_576a_fce6),
        f64::from_bits(0x3fc5_26e5_7720_db08),
    ),
    (
        f64::from_bits(0x3fe9_c2d1_63a1_aa2d),
        f64::from_bits(0x3fcb_c286_0d22_4770),
    ),
    (
        f64::from_bits(0x3fe8_86e6_0378_41ed),
        f64::from_bits(0x3fd1_058b_c8a0_7ee1),
    ),
    (
        f64::from_bits(0x3fe7_67dc_f553_4862),
        f64::from_bits(0x3fd4_0430_57b6_ee09),
    ),
];
/// `0x1.62e42fefa39efp-1`.
const LN2: f64 = f64::from_bits(0x3fe6_2e42_fefa_39ef);
/// `-0x1.00ea348b88334p-2`, `0x1.5575b0be00b6ap-2`, `-0x1.ffffef20a4123p-2`.
const LOG_POLY: [f64; 3] = [
    f64::from_bits(0xbfd0_0ea3_48b8_8334),
    f64::from_bits(0x3fd5_575b_0be0_0b6a),
    f64::from_bits(0xbfdf_fffe_f20a_4123),
];

/// Natural logarithm of `x`, glibc's `logf`: -inf at zero, NaN below.
#[must_use]
pub(crate) fn logf(x: f32) -> f32 {
    const OFFSET: u32 = 0x3f33_0000;
    /// `0x1p23`, which makes a subnormal number normal.
    const TWO_TO_23: f32 = 8_388_608.0;
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == f32::INFINITY {
        return x;
    }
    let bits = if x < f32::MIN_POSITIVE {
        (x * TWO_TO_23).to_bits().wrapping_sub(23 << 23)
    } else {
        x.to_bits()
    };
    let shifted = bits.wrapping_sub(OFFSET);
    let index = ((shifted >> (23 - LOG_TABLE_BITS)) % LOG_TABLE_LEN) as usize;
    let exponent = (shifted as i32) >> 23;
    let z = f64::from(f32::from_bits(bits.wrapping_sub(shifted & 0xff80_0000)));
    let (inverse, logarithm) = LOG_TABLE[index];
    let r = z * inverse - 1.0;
    let constant = logarithm + f64::from(exponent) * LN2;
    let square = r * r;
    let y = LOG_POLY[1] * r + LOG_POLY[2];
    let y = LOG_POLY[0] * square + y;
    (y * square + (constant + r)) as f32
}

#[cfg(test)]
mod tests {
    use super::{expf, logf};

    fn same(found: f32, expected: f32) -> bool {
        (found.is_nan() && expected.is_nan()) || found.to_bits() == expected.to_bits()
    }

    #[test]
    fn equal_to_glibc_on_its_own_results() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/golden/infer/libm_f32.bin"
        );
        let bytes = std::fs::read(path).expect("scripts/train/make_golden.py made it");
        let read = |chunk: &[u8]| f32::from_le_bytes(chunk.try_into().expect("four bytes"));
        assert!(bytes.len() >= 4_000 * 12);
        for triple in bytes.chunks_exact(12) {
            let (x, exp, log) = (read(&triple[..4]), read(&triple[4..8]), read(&triple[8..]));
            assert!(
                same(expf(x), exp),
                "expf({x:e}) is {exp:e}, computed {:e}",
                expf(x)
            );
            assert!(
                same(logf(x), log),
                "logf({x:e}) is {log:e}, computed {:e}",
                logf(x)
            );
        }
    }

    #[test]
    fn near_the_true_value_everywhere() {
        // An oracle of another kind: f64 functions of the platform, within one f32 step.
        let mut bits = 1u32;
        while bits < 0x7f80_0000 {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let exact = f64::from(x).exp();
                let relative = (f64::from(expf(x)) - exact).abs() / exact;
                assert!(
                    relative < 1e-7 || !(1e-37..=3.4e38).contains(&exact),
                    "expf({x:e})"
                );
            }
            let x = f32::from_bits(bits);
            let exact = f64::from(x).ln();
            assert!(
                (f64::from(logf(x)) - exact).abs() <= 1e-7 * exact.abs(),
                "logf({x:e})"
            );
            bits += 4_999;
        }
    }
}
