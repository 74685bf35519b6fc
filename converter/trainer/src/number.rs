//! Numbers of options.

use std::fmt::Display;
use std::str::FromStr;

/// A number that is finite and not below 0, as every option of this command has it.
///
/// # Errors
/// What it is instead.
pub fn number<T: FromStr<Err: Display> + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let value: T = text.parse().map_err(|error: T::Err| error.to_string())?;
    let wide: f64 = value.into();
    if wide.is_finite() && wide >= 0.0 {
        Ok(value)
    } else {
        Err("it must be a finite number, not below 0".to_owned())
    }
}
