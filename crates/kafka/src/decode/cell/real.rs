//! REAL: a DOUBLE column whose values are those of 32 bits. A text is read as the REAL nearest to
//! what is written, and so is not rounded to a DOUBLE first: that would round some texts twice.

use forebay_core::domain::Domain;

use super::super::columns::{Column, Values};
use super::super::guess::Guess;
use super::super::reject::Reject;

impl Column {
    /// Whether a number must come to it as its text: [`Self::put_numeral`].
    pub(in crate::decode) fn reads_text_of_numbers(&self) -> bool {
        self.domain == Some(Domain::Real)
    }

    /// A number as JSON and CSV write one, with or without point and exponent.
    pub(in crate::decode) fn put_numeral(&mut self, text: &str) -> Result<(), Reject> {
        match (text.parse::<i64>(), text.parse::<u64>()) {
            // The sign of -0 stays.
            (Ok(0), _) if text.starts_with('-') => self.put_real(Some(-0.0)),
            (Ok(value), _) => self.put_real_integer(value.into()),
            (_, Ok(value)) => self.put_real_integer(value.into()),
            _ => match text.parse::<f32>() {
                Ok(value) => self.put_real(value.is_finite().then_some(f64::from(value))),
                Err(_) => Err(self.refuse("a field that is no number")),
            },
        }
    }

    /// The REAL that came, or None: it is beyond the largest one.
    pub(super) fn put_real(&mut self, value: Option<f64>) -> Result<(), Reject> {
        let Some(value) = value else {
            return Err(Reject::wrong_type("the number is beyond the largest REAL"));
        };
        let Values::Double(values) = &mut self.values else {
            return Err(self.refuse("a number"));
        };
        // One NaN, whatever bits it came with.
        values.push(if value.is_nan() { f64::NAN } else { value });
        self.mark_valid();
        Ok(())
    }

    /// An integer, rounded once; one that 32 bits cannot hold exactly is told.
    pub(super) fn put_real_integer(&mut self, value: i128) -> Result<(), Reject> {
        let real = value as f32;
        self.put_real(Some(f64::from(real)))?;
        if real as i128 != value {
            self.guessed(Guess::RoundedInteger);
        }
        Ok(())
    }
}
