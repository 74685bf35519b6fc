//! The boards of `targets`: how much flash and RAM they have, and what the runtime takes of it.

use super::table::grouped;
use anyhow::{Context, Result, ensure};
use coda_converter::say;
use serde_json::{Value, json};

/// A line for each board. `targets/boards.sh` compares code and stack with the emulated program.
const BOARDS: &str = include_str!("boards.csv");

/// One board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Board {
    name: &'static str,
    code: usize,
    stack: usize,
    flash: usize,
    ram: usize,
}

/// Columns of code and stack: of a program that classifies, and of one that writes.
const OWN: [usize; 2] = [2, 3];
const DECODER: [usize; 2] = [7, 8];

impl Board {
    /// The board of a name.
    pub(super) fn named(name: &str) -> Result<Self> {
        Self::with(name, OWN)
    }

    /// The same with code and stack of a program that writes.
    pub(super) fn writing(name: &str) -> Result<Self> {
        Self::with(name, DECODER)
    }

    fn with(name: &str, [code, stack]: [usize; 2]) -> Result<Self> {
        let lines = || BOARDS.lines().skip(1);
        let line = lines().find(|line| line.split(',').next() == Some(name));
        let line = line.with_context(|| {
            let names: Vec<&str> = lines().filter_map(|line| line.split(',').next()).collect();
            format!("no target \"{name}\"; there are {}", names.join(", "))
        })?;
        let cells: Vec<&'static str> = line.split(',').collect();
        let cell = |index: usize| -> Result<usize> {
            let cell = cells.get(index).context("a line of boards.csv is short")?;
            Ok(cell.parse()?)
        };
        Ok(Self {
            name: cells[0],
            code: cell(code)?,
            stack: cell(stack)?,
            flash: cell(4)?,
            ram: cell(5)?,
        })
    }

    /// Bytes of flash and of RAM with a package and an arena.
    const fn needs(&self, package: usize, arena: usize) -> (usize, usize) {
        (self.code + package, self.stack + arena)
    }

    pub(super) fn to_json(self, package: usize, arena: usize) -> Value {
        let (flash, ram) = self.needs(package, arena);
        json!({
            "name": self.name,
            "code_bytes": self.code,
            "stack_bytes": self.stack,
            "needed_flash_bytes": flash,
            "needed_ram_bytes": ram,
            "flash_bytes": self.flash,
            "ram_bytes": self.ram,
            "fits": flash <= self.flash && ram <= self.ram,
        })
    }

    /// Prints what the board needs; an error if it has less.
    pub(super) fn print(self, package: usize, arena: usize) -> Result<()> {
        let (flash, ram) = self.needs(package, arena);
        say!(
            "{}, code and stack by the bounds in targets/boards.csv, which targets/boards.sh holds \
             programs to:",
            self.name
        );
        for (memory, needed, has, parts) in [
            ("flash", flash, self.flash, format!("packages and {} of code", grouped(self.code))),
            ("RAM", ram, self.ram, format!("arena and {} of stack", grouped(self.stack))),
        ] {
            say!("{memory}: {} of {} bytes ({parts})", grouped(needed), grouped(has));
            ensure!(
                needed <= has,
                "{} has too little {memory}: {} bytes needed, {} there",
                self.name,
                grouped(needed),
                grouped(has)
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_board() {
        for line in BOARDS.lines().skip(1) {
            let name = line.split(',').next().unwrap();
            let board = Board::named(name).unwrap();
            assert!(Board::writing(name).unwrap().code > board.code);
            assert!(board.code > 0 && board.stack > 0);
            assert!(board.flash > board.code && board.ram > board.stack);
        }
        assert!(Board::named("no such board").is_err());
    }

    #[test]
    fn one_byte_too_much_does_not_fit() {
        let board = Board { name: "b", code: 10, stack: 5, flash: 100, ram: 50 };
        assert!(board.print(90, 45).is_ok());
        assert!(board.print(91, 45).is_err());
        assert!(board.print(90, 46).is_err());
    }
}
