//! What commands say. An output that cannot be written is an error of the command, never a panic. Names
//! and texts come from files that anybody may have written: none reaches a terminal as a command to it.

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

/// A character that a terminal obeys in place of showing it: a control character, or one that changes the
/// direction of the text around it.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, spared: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_obeyed(character) && !spared.contains(&character) {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    shown
}

/// A text of a file on one line: every character that a terminal obeys as its number, `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> String {
    escape(text, &[])
}

/// Writes a line to standard output. [`finish`] has the error, if there is one.
///
/// Ends of lines and tabs are the command's own; [`escaped`] is for those of files.
pub fn line(text: Arguments<'_>) {
    keep(writeln!(stdout(), "{}", escape(&text.to_string(), &['\n', '\t'])));
}

/// Writes a part of a line to standard output, at once: a text that grows.
pub fn part(text: &str) {
    let mut out = stdout();
    keep(write!(out, "{}", escape(text, &['\n', '\t'])).and_then(|()| out.flush()));
}

/// Writes a line to standard error, if that works.
pub fn complain(text: Arguments<'_>) {
    // There is no other place to say it.
    let _ = writeln!(stderr(), "{}", escape(&text.to_string(), &['\n', '\t']));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(escaped("caf\u{e9} \u{5d0} \u{4e2d}"), "caf\u{e9} \u{5d0} \u{4e2d}");
        assert_eq!(escaped("a\u{1b}[2J\nb\t"), "a\\u{1b}[2J\\u{a}b\\u{9}");
        assert_eq!(escaped("\u{9b}31m\u{202e}x"), "\\u{9b}31m\\u{202e}x");
        assert_eq!(escape("a\n\u{7}", &['\n']), "a\n\\u{7}");
    }
}
