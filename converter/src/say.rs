//! What commands say. An output that cannot be written is an error of the command, never a panic.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::sync::Mutex;

/// Why standard output failed, the first time that it did.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

/// A line on standard output.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

/// A line on standard error; where that cannot be written there is nobody to tell.
#[macro_export]
macro_rules! warn {
    ($($text:tt)*) => { $crate::say::complain(format_args!($($text)*)) };
}

/// Writes a line to standard output. [`finish`] has the error, if there is one.
pub fn line(text: Arguments<'_>) {
    keep(writeln!(stdout(), "{text}"));
}

/// Writes a line to standard error, if that works.
pub fn complain(text: Arguments<'_>) {
    // There is no other place to say it.
    let _ = writeln!(stderr(), "{text}");
}

/// Writes out what is left. A pipe that its reader has closed is the reader's wish.
///
/// # Errors
/// The first error of standard output.
pub fn finish() -> io::Result<()> {
    keep(stdout().flush());
    let failure = FAILURE.lock().map(|mut failure| failure.take()).unwrap_or_default();
    failure.filter(|error| error.kind() != ErrorKind::BrokenPipe).map_or(Ok(()), Err)
}

/// Keeps the error of a write to standard output for [`finish`].
pub fn keep(written: io::Result<()>) {
    if let (Err(error), Ok(mut failure)) = (written, FAILURE.lock()) {
        failure.get_or_insert(error);
    }
}
