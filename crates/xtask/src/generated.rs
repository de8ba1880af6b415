//! Generated tables of the documents: printed from code, checked by CI.
//!
//! A block stands between two marks, each alone on its line:
//!
//! ```text
//! <!-- generated: NAME -->
//! ...
//! <!-- /generated -->
//! ```
//!
//! Every name of [`FILES`] has exactly one block in its file, and every block such a name.

mod capabilities;
mod commands;
mod releases;
mod verdicts;

use std::fs;

use clap::Args;

use crate::failure::{At, Failure, Result};
use crate::workspace::Workspace;

/// Check the generated tables of the documents against the code, or rewrite them.
#[derive(Args, Default)]
pub struct Options {
    /// Rewrite the stale tables instead of failing
    #[arg(long)]
    write: bool,
}

/// A block's name, and the function that prints it: lines of Markdown, the last one ended too.
type Block = (&'static str, fn() -> String);

/// The files that have generated blocks.
const FILES: &[(&str, &[Block])] = &[
    (
        "README.md",
        &[
            ("commands", commands::commands_table),
            ("vfio", commands::vfio_table),
            ("y2020", commands::y2020_table),
            ("machines", verdicts::machines_table),
            ("guest-sva", verdicts::guest_sva_table),
        ],
    ),
    (
        "docs/capabilities.md",
        &[
            ("capabilities", capabilities::capabilities_table),
            ("provisions", capabilities::provisions_table),
            ("requirements", capabilities::requirements_table),
            ("kernels", verdicts::kernels_table),
        ],
    ),
    (
        "docs/compatibility.md",
        &[("rules", releases::rules_table), ("releases", releases::releases_table)],
    ),
];

const REMEDY: &str = "`cargo xtask generated --write` rewrites it";

/// Checks the files, or rewrites them.
pub fn run(workspace: &Workspace, options: &Options) -> Result {
    FILES.iter().try_for_each(|(file, blocks)| check(workspace, options, file, blocks))
}

fn check(workspace: &Workspace, options: &Options, file: &str, blocks: &[Block]) -> Result {
    let path = workspace.root.join(file);
    let found = fs::read_to_string(&path).at("read", &path)?;
    let expected =
        regenerated(&found, blocks).map_err(|reason| Failure::from(format!("{file}: {reason}")))?;
    if found == expected {
        println!("{file}: {} generated block(s), all fresh", blocks.len());
        return Ok(());
    }
    if options.write {
        fs::write(&path, expected).at("write", &path)?;
        println!("{file}: rewritten");
        return Ok(());
    }
    Err(Failure::from(format!(
        "{file} is stale; {REMEDY}\n{}",
        difference(&found, &expected).join("\n")
    )))
}

/// The file with every block printed anew.
fn regenerated(text: &str, blocks: &[Block]) -> Result<String, String> {
    let mut output = String::new();
    let mut seen = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        output.push_str(line);
        output.push('\n');
        let Some(name) = opened(line) else { continue };
        let number = number + 1;
        let Some((_, print)) = blocks.iter().find(|(known, _)| *known == name) else {
            return Err(format!("line {number}: no generated block is called \"{name}\""));
        };
        if seen.contains(&name) {
            return Err(format!("line {number}: a second block \"{name}\""));
        }
        seen.push(name);
        output.push_str(&print());
        match lines.find(|(_, line)| closed(line) || opened(line).is_some()) {
            Some((_, end)) if closed(end) => {
                output.push_str(end);
                output.push('\n');
            }
            _ => return Err(format!("line {number}: block \"{name}\" has no end mark")),
        }
    }
    match blocks.iter().find(|(name, _)| !seen.contains(name)) {
        Some((name, _)) => Err(format!(
            "no block \"{name}\"; add `<!-- generated: {name} -->`, `<!-- /generated -->`"
        )),
        None => Ok(output),
    }
}

fn opened(line: &str) -> Option<&str> {
    line.trim().strip_prefix("<!-- generated: ")?.strip_suffix(" -->")
}

fn closed(line: &str) -> bool {
    line.trim() == "<!-- /generated -->"
}

/// The lines that differ, `-` for what the file has and `+` for what it should have: everything
/// between the common beginning and the common end.
fn difference(found: &str, expected: &str) -> Vec<String> {
    let found: Vec<_> = found.lines().collect();
    let expected: Vec<_> = expected.lines().collect();
    let same = |(a, b): &(&&str, &&str)| a == b;
    let start = found.iter().zip(&expected).take_while(same).count();
    let (found, expected) = (&found[start..], &expected[start..]);
    let end = found.iter().rev().zip(expected.iter().rev()).take_while(same).count();
    let removed = found[..found.len() - end].iter().map(|line| format!("-{line}"));
    let added = expected[..expected.len() - end].iter().map(|line| format!("+{line}"));
    std::iter::once(format!("@@ line {} @@", start + 1)).chain(removed).chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[Block] = &[("a", || "new\n".into()), ("b", || "B\n".into())];

    #[test]
    fn blocks_are_replaced_or_the_file_is_refused() {
        const A: &str = "<!-- generated: a -->\n";
        const B: &str = "<!-- generated: b -->\n";
        const END: &str = "<!-- /generated -->\n";
        type Case = (&'static [&'static str], Result<&'static [&'static str], &'static str>);
        #[rustfmt::skip] // one file, one line
        let cases: &[Case] = &[
            (&["t\n", A, "old\n", "x\n", END, "u\n", B, END], Ok(&["t\n", A, "new\n", END, "u\n", B, "B\n", END])),
            (&[A, "new\n", END, B, "B\n", END],               Ok(&[A, "new\n", END, B, "B\n", END])),
            (&[A, END],                                       Err("no block \"b\"; add `<!-- generated: b -->`, `<!-- /generated -->`")),
            (&[A, END, A, END],                               Err("line 3: a second block \"a\"")),
            (&[A, "x\n", B, END],                             Err("line 1: block \"a\" has no end mark")),
            (&["<!-- generated: c -->\n", END],               Err("line 1: no generated block is called \"c\"")),
        ];
        for (file, expected) in cases {
            let expected = expected.map(<[&str]>::concat).map_err(String::from);
            assert_eq!(regenerated(&file.concat(), TWO), expected);
        }
    }

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(
            difference("a\nb\nc\nd\n", "a\nB\nC\nd\n"),
            ["@@ line 2 @@", "-b", "-c", "+B", "+C"]
        );
        assert_eq!(difference("a\na\n", "a\n"), ["@@ line 2 @@", "-a"]);
    }
}
