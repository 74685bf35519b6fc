//! Routed patches, tokens and numbers, drawn for a terminal.

use crate::say::escaped;
use coda_runtime::executor::Observer;
use coda_runtime::image::PatchGrid;
use coda_runtime::routing::Selection;
use coda_runtime::text::Tokenizer;
use std::fmt::Write;

/// Keeps what each layer selected.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Selected tokens of each layer, ascending.
    pub layers: Vec<Vec<u32>>,
}

impl Observer for Trace {
    fn selected(&mut self, _: usize, selection: &Selection<'_>) {
        self.layers.push(selection.selected.to_vec());
    }
}

/// Shades of gray, dark to light.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Draws a gray image beside the patches that each layer routed, one picture for each layer.
///
/// A patch that passed the frozen layer is drawn `██`, another `··`. The prefix tokens before the patches
/// are not drawn.
#[must_use]
pub fn patches(pixels: &[u8], grid: &PatchGrid, prefix_tokens: usize, trace: &Trace) -> String {
    let image = image_lines(pixels, grid);
    let first = prefix_tokens as u32;
    let mut blocks = vec![("image".to_owned(), image)];
    for (index, selected) in trace.layers.iter().enumerate() {
        let lines = (0..grid.rows)
            .map(|row| {
                let patch = |column| (row * grid.columns + column) as u32 + first;
                (0..grid.columns)
                    .map(|column| if selected.contains(&patch(column)) { "██" } else { "··" })
                    .collect()
            })
            .collect();
        blocks.push((format!("layer {index}: {}", selected.len()), lines));
    }
    beside(&blocks)
}

/// The image in two characters a patch column, one line a patch row, from the mean of each cell.
fn image_lines(pixels: &[u8], grid: &PatchGrid) -> Vec<String> {
    let (width, half) = (grid.columns * grid.side * grid.channels, grid.side.div_ceil(2));
    let cell = |row: usize, column: usize| {
        let (top, left) = (row * grid.side, column * half);
        let rows = top..top + grid.side;
        let values = rows.flat_map(|y| {
            (left * grid.channels..(left + half) * grid.channels).map(move |x| y * width + x)
        });
        let values: Vec<u32> =
            values.filter_map(|at| pixels.get(at).copied().map(u32::from)).collect();
        let mean = values.iter().sum::<u32>() / values.len().max(1) as u32;
        SHADES[(mean as usize * SHADES.len() / 256).min(SHADES.len() - 1)]
    };
    (0..grid.rows)
        .map(|row| (0..grid.columns * grid.side / half).map(|column| cell(row, column)).collect())
        .collect()
}

/// Titled blocks of lines next to each other, wrapped to the width of a terminal.
fn beside(blocks: &[(String, Vec<String>)]) -> String {
    const TERMINAL: usize = 100;
    let width = |(title, lines): &(String, Vec<String>)| {
        let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        widest.max(title.chars().count()) + 2
    };
    let per_line = (TERMINAL / blocks.iter().map(width).max().unwrap_or(1)).max(1);
    let mut text = String::new();
    for group in blocks.chunks(per_line) {
        let width = group.iter().map(width).max().unwrap_or(0);
        let height = group.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
        let mut line_of = |parts: Vec<&str>| {
            let padded = parts.iter().map(|part| format!("{part:width$}"));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", padded.collect::<String>().trim_end());
        };
        line_of(group.iter().map(|(title, _)| title.as_str()).collect());
        for row in 0..height {
            line_of(group.iter().map(|(_, l)| l.get(row).map_or("", String::as_str)).collect());
        }
    }
    text
}

/// Lists the tokens of a text for each layer: routed ones in brackets, others as a dot for each
/// character.
#[must_use]
pub fn tokens(ids: &[u32], tokenizer: Option<&Tokenizer<'_>>, trace: &Trace) -> String {
    let name = |id: u32| {
        let known = tokenizer.and_then(|words| words.token(id)).map(String::from_utf8_lossy);
        let known = known.map(|token| escaped(&token));
        known.unwrap_or_else(|| id.to_string())
    };
    let mut text = String::new();
    for (index, selected) in trace.layers.iter().enumerate() {
        let words = ids.iter().enumerate().map(|(position, id)| {
            let word = name(*id);
            match selected.binary_search(&(position as u32)) {
                Ok(_) => format!("[{word}]"),
                Err(_) => "·".repeat(word.chars().count()),
            }
        });
        let words: Vec<String> = words.collect();
        let count = selected.len();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "layer {index}: {count} of {}  {}", ids.len(), words.join(" "));
    }
    text
}

/// An integer with separated thousands.
#[must_use]
pub fn grouped(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
