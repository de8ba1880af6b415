//! What the verbs print, and how they end.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;

use crate::subject::Trouble;

/// Exit status when nothing could be asked, and of a usage error.
pub const CANNOT_ASK: u8 = 2;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Prints what a verb has to say, and ends with its status.
pub fn finish(said: Result<(String, u8), Trouble>) -> ExitCode {
    match said {
        Ok((text, status)) => {
            let mut output = io::stdout().lock();
            match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
                // who reads no further has heard enough
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    eprintln!("softiommu: writing to standard output: {error}");
                    ExitCode::from(CANNOT_ASK)
                }
                _ => ExitCode::from(status),
            }
        }
        Err(trouble) => {
            eprintln!("softiommu: {trouble}");
            ExitCode::from(CANNOT_ASK)
        }
    }
}

/// Columns, as wide as their widest cells; the last is not filled up.
pub fn table<const N: usize>(indent: &str, rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A JSON value as a document.
pub fn document(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
