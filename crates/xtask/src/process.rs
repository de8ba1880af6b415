//! Running other programs: every command is shown before it runs and named when it fails.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};

/// Runs a command with our own output and input; any exit status but 0 is a failure.
pub fn run(command: &mut Command) -> Result {
    eprintln!("$ {}", shown(command));
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::from(format!("`{}` ended with {status}", shown(command))))
}

/// Runs a command silently and returns what it printed; its complaints pass through.
pub fn read(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    if !output.status.success() {
        return Err(Failure::from(format!("`{}` ended with {}", shown(command), output.status)));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::from(format!("`{}` printed text that is not UTF-8", shown(command))))
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+~@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::from(format!("cannot start `{}`: {error}", shown(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        #[rustfmt::skip] // one command, one line
        let cases: &[(&[&str], &str)] = &[
            (&["apt-get", "install", "libcap-dev"], "apt-get install libcap-dev"),
            (&["make", "K=-isystem a"],             "make 'K=-isystem a'"),
            (&["echo", ""],                         "echo ''"),
            (&["echo", "it's"],                     r"echo 'it'\''s'"),
        ];
        for (words, expected) in cases {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            assert_eq!(shown(&command), *expected);
        }
    }
}
