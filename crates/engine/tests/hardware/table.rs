//! Tables whose last column is an answer by release.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use profile::{Kernel, Machine};
use uapi::{Errno, Generation};

use crate::host::Host;

/// What a call answers.
pub type Answer = Result<(), Errno>;

/// It succeeds.
pub const OK: Answer = Ok(());

/// Expectations by release. Ranges are closed, `6.7-6.12`; one release is `6.7`, and `6.13-` goes to the
/// newest. They follow each other without a gap.
pub type ByKernel<'r, T> = &'r [(&'r str, T)];

/// Calls that lead to the answer of a row.
pub type Calls<T> = fn(&mut Host) -> T;

/// The first and the last generation of a range.
fn range(text: &str) -> (Generation, Generation) {
    let parse = |text: &str| text.parse().expect("a generation");
    match text.split_once('-') {
        None => (parse(text), parse(text)),
        Some((first, "")) => (parse(first), Generation::NEWEST),
        Some((first, last)) => (parse(first), parse(last)),
    }
}

/// Every release of the ranges, with what is expected of it.
fn by_kernel<'r, T>(ranges: ByKernel<'r, T>) -> Vec<(&'static Kernel, &'r T)> {
    let mut list: Vec<(&'static Kernel, &'r T)> = Vec::new();
    for (text, expected) in ranges {
        let (first, last) = range(text);
        let kernels = Kernel::all().iter().filter(|it| (first..=last).contains(&it.generation()));
        list.extend(kernels.map(|kernel| (kernel, expected)));
    }
    let position =
        |kernel: &Kernel| Kernel::all().iter().position(|known| known == kernel).unwrap();
    for pair in list.windows(2) {
        assert_eq!(position(pair[0].0) + 1, position(pair[1].0), "ranges do not follow each other");
    }
    list
}

/// Rows that were checked. Every row is run, so that a wrong one does not hide the next.
#[derive(Debug, Default)]
pub struct Table {
    wrong: Vec<String>,
}

impl Table {
    /// Runs calls on a machine under every release of the row, with all its devices bound.
    pub fn row<T: Debug + PartialEq>(
        &mut self,
        what: &str,
        machine: &Machine,
        expected: ByKernel<'_, T>,
        calls: impl Fn(&mut Host) -> T,
    ) {
        self.each(what, expected, |kernel| calls(&mut Host::new(machine, kernel)));
    }

    /// Runs something under every release of the row.
    pub fn each<T: Debug + PartialEq>(
        &mut self,
        what: &str,
        expected: ByKernel<'_, T>,
        run: impl Fn(&'static Kernel) -> T,
    ) {
        for (kernel, expected) in by_kernel(expected) {
            match catch_unwind(AssertUnwindSafe(|| run(kernel))) {
                Ok(found) if found == *expected => {}
                Ok(found) => {
                    let line = format!("{kernel} {what}: expected {expected:x?}, found {found:x?}");
                    self.wrong.push(line);
                }
                Err(_) => self.wrong.push(format!("{kernel} {what}: a call before it failed")),
            }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.wrong.is_empty() {
            panic!("{} wrong\n{}", self.wrong.len(), self.wrong.join("\n"));
        }
    }
}
