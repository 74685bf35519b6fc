//! Rows as CSV or JSON.

use coda_runtime::kernels::Kernels;
use core::fmt;

/// Where a program prints.
pub trait Console {
    /// Prints one line.
    ///
    /// # Errors
    /// The line could not be written.
    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result;
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A heading, then a line for each row.
    Csv,
    /// One array, an object for each row.
    Json,
}

/// What a benchmark runs with, and how it prints.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'b> {
    /// Name of the target.
    pub target: &'b str,
    /// The kernel table.
    pub kernels: &'b Kernels,
    /// How rows are printed.
    pub format: Format,
    /// Each figure is the least of so many runs.
    pub runs: usize,
}

/// One figure. What does not apply is empty, 0 or `None`, and is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// `kernel`, `layer` or `inference`.
    pub(crate) group: &'static str,
    /// What was measured.
    pub(crate) name: &'static str,
    /// Whose keys the selected tokens attend to.
    pub(crate) mode: &'a str,
    /// Tokens of the input.
    pub(crate) tokens: usize,
    /// Index of the layer.
    pub(crate) layer: Option<usize>,
    /// Rows of a kernel's input.
    pub(crate) rows: usize,
    /// Values of one of them.
    pub(crate) inputs: usize,
    /// Output channels.
    pub(crate) outputs: usize,
    /// Reduction factor r.
    pub(crate) reduction: f32,
    /// Counts.
    pub(crate) count: u64,
}

impl Row<'_> {
    pub(crate) const fn of(group: &'static str, name: &'static str) -> Self {
        Self {
            group,
            name,
            mode: "",
            tokens: 0,
            layer: None,
            rows: 0,
            inputs: 0,
            outputs: 0,
            reduction: 0.0,
            count: 0,
        }
    }
}

/// Prints rows as they are measured.
#[derive(Debug)]
pub(crate) struct Report<'b, O> {
    setup: Setup<'b>,
    unit: &'static str,
    empty: bool,
    console: &'b mut O,
}

/// A cell: nothing for what does not apply.
struct Cell<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

/// A member of a JSON object with the comma before it: nothing for what does not apply.
struct Member<T>(&'static str, Option<T>);

impl<T: fmt::Display> fmt::Display for Member<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.as_ref().map_or(Ok(()), |value| write!(f, ",\"{}\":{value}", self.0))
    }
}

const fn some(value: usize) -> Option<usize> {
    if value == 0 { None } else { Some(value) }
}

impl<'b, O: Console> Report<'b, O> {
    pub(crate) fn start(
        setup: Setup<'b>,
        unit: &'static str,
        console: &'b mut O,
    ) -> Result<Self, fmt::Error> {
        match setup.format {
            Format::Csv => console.line(format_args!(
                "target,kernels,unit,group,name,mode,tokens,layer,rows,inputs,outputs,r,count"
            ))?,
            Format::Json => console.line(format_args!("["))?,
        }
        Ok(Self { setup, unit, empty: true, console })
    }

    pub(crate) fn row(&mut self, row: &Row<'_>) -> fmt::Result {
        let Self { setup: Setup { target, kernels, format, .. }, unit, .. } = *self;
        let kernels = kernels.name;
        let Row { group, name, mode, tokens, layer, rows, inputs, outputs, reduction, count } =
            *row;
        let reduction = (reduction != 0.0).then_some(reduction);
        let [tokens, rows, inputs, outputs] = [tokens, rows, inputs, outputs].map(some);
        let comma = if core::mem::take(&mut self.empty) { "" } else { "," };
        match format {
            Format::Csv => self.console.line(format_args!(
                "{target},{kernels},{unit},{group},{name},{mode},{},{},{},{},{},{},{count}",
                Cell(tokens),
                Cell(layer),
                Cell(rows),
                Cell(inputs),
                Cell(outputs),
                Cell(reduction),
            )),
            Format::Json => self.console.line(format_args!(
                "{comma}{{\"target\":\"{target}\",\"kernels\":\"{kernels}\",\"unit\":\"{unit}\",\
                 \"group\":\"{group}\",\"name\":\"{name}\",\"mode\":\"{mode}\"{}{}{}{}{}{},\"count\":{count}}}",
                Member("tokens", tokens),
                Member("layer", layer),
                Member("rows", rows),
                Member("inputs", inputs),
                Member("outputs", outputs),
                Member("r", reduction),
            )),
        }
    }

    pub(crate) fn finish(&mut self) -> fmt::Result {
        match self.setup.format {
            Format::Csv => Ok(()),
            Format::Json => self.console.line(format_args!("]")),
        }
    }
}
