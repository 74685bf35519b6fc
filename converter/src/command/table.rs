//! Tables and numbers for people.

pub(super) use coda_converter::draw::grouped;
use coda_runtime::memory::Plan;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

/// A table with a header; every column but the first is aligned right.
pub(super) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The buffers of a plan.
pub(super) fn plan_table(plan: &Plan) -> Table {
    let rows = plan.buffers().iter().filter(|buffer| buffer.bytes > 0);
    let rows =
        rows.map(|buffer| [buffer.name.to_owned(), grouped(buffer.offset), grouped(buffer.bytes)]);
    let mut rows: Vec<_> = rows.collect();
    rows.push(["arena".to_owned(), String::new(), grouped(plan.arena_bytes())]);
    table(["buffer", "offset", "bytes"], rows)
}

/// Bytes as hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
