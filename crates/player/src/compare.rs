//! A recording against what the same seeds print now.
//!
//! The recording is read whole, the seeds are played by one child process (this program again, so under
//! the same `LD_PRELOAD`), and each seed is compared as soon as the child has finished it. Only the first
//! differing line of a seed is shown: after it the two sequences know different things and ask for
//! different things.
//!
//! ```text
//! seed 17
//! - 41 map sz+0 -> 0 0 [f6 i2 va0 len1000 iova0] iova=1000       (recorded)
//! + 41 map sz+0 -> -1 28 [f6 i2 va0 len1000 iova0] iova=0         (played)
//! seeds: 299 equal, 1 different
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use flate2::read::MultiGzDecoder;

use crate::seed::CANNOT_OPEN;

/// What is shown for a side that has no line there.
const NO_LINE: &str = "(no more lines)";

/// How many seeds were equal and how many not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub equal: usize,
    pub different: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seeds: {} equal, {} different", self.equal, self.different)
    }
}

/// Why no comparison came about.
#[derive(Debug, thiserror::Error)]
pub enum CannotCompare {
    #[error("{path}: {error}", path = .path.display())]
    Recording { path: PathBuf, error: io::Error },
    #[error("{path}: has no seed {seed}", path = .path.display())]
    NotRecorded { path: PathBuf, seed: u64 },
    #[error("{path}: holds no seeds {first} to {last}", path = .path.display())]
    NoSeeds { path: PathBuf, first: u64, last: u64 },
    #[error("the playing child: {0}")]
    Child(#[from] io::Error),
    #[error("the playing child ended early: {0}")]
    ChildStatus(ExitStatus),
    #[error("open /dev/iommu: {}", io::Error::from_raw_os_error(*.0))]
    NoIommu(i32),
}

/// Compares `seeds`, or all that the recording holds; prints differences and the closing line.
pub fn run(path: &Path, seeds: Option<RangeInclusive<u64>>) -> Result<Tally, CannotCompare> {
    let recorded = read_recording(path)?;
    let steps = steps_of(&recorded);
    let wanted = select(path, &recorded, seeds)?;
    let mut player = Playing::start(wanted[0].seed, wanted[wanted.len() - 1].seed, steps)?;
    let mut tally = Tally::default();
    for recorded in wanted {
        let played = player.next_seed()?;
        match first_difference(recorded, &played) {
            None => tally.equal += 1,
            Some((was, is)) => {
                tally.different += 1;
                show(format_args!("seed {}\n- {was}\n+ {is}", recorded.seed))?;
            }
        }
    }
    player.finish()?;
    show(format_args!("{tally}"))?;
    Ok(tally)
}

fn show(text: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// The lines of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    seed: u64,
    lines: Vec<String>,
}

/// Splits output into seeds at its `== seed N` lines.
struct Blocks<R> {
    lines: Lines<BufReader<R>>,
    /// The header that ended the previous block.
    next: Option<u64>,
}

impl<R: Read> Blocks<R> {
    fn new(reader: R) -> Self {
        Blocks { lines: BufReader::new(reader).lines(), next: None }
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Block>;

    fn next(&mut self) -> Option<io::Result<Block>> {
        let mut block = self.next.take().map(|seed| Block { seed, lines: Vec::new() });
        for line in self.lines.by_ref() {
            let line = match line {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            let header = line.strip_prefix("== seed ").and_then(|seed| seed.parse().ok());
            match (header, &mut block) {
                (Some(seed), None) => block = Some(Block { seed, lines: Vec::new() }),
                (Some(seed), Some(_)) => {
                    self.next = Some(seed);
                    break;
                }
                (None, Some(block)) => block.lines.push(line),
                (None, None) => {
                    let error = format!("a line before the first seed: {line}");
                    return Some(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
        }
        block.map(Ok)
    }
}

fn read_recording(path: &Path) -> Result<Vec<Block>, CannotCompare> {
    let read = || -> io::Result<Vec<Block>> {
        Blocks::new(MultiGzDecoder::new(File::open(path)?)).collect()
    };
    read().map_err(|error| CannotCompare::Recording { path: path.to_owned(), error })
}

/// How many steps a seed has: one more than the largest step number. (A step may print an empty line,
/// so one block's last line need not have a number.)
fn steps_of(recorded: &[Block]) -> u32 {
    let numbers = recorded.iter().flat_map(|block| &block.lines).filter_map(|line| step_of(line));
    numbers.max().map_or(0, |last| last + 1)
}

fn step_of(line: &str) -> Option<u32> {
    line.split_once(' ')?.0.parse().ok()
}

/// The blocks of `seeds`, which must be recorded one after the other without a gap.
fn select<'a>(
    path: &Path,
    recorded: &'a [Block],
    seeds: Option<RangeInclusive<u64>>,
) -> Result<&'a [Block], CannotCompare> {
    let at = |i: usize| recorded.get(i).map(|block| block.seed);
    let start = at(0).unwrap_or(0);
    let seeds = seeds.unwrap_or(start..=recorded.last().map_or(0, |block| block.seed));
    let (first, last) = (*seeds.start(), *seeds.end());
    if seeds.is_empty() || recorded.is_empty() {
        return Err(CannotCompare::NoSeeds { path: path.to_owned(), first, last });
    }
    let offset = recorded.iter().position(|block| block.seed == first).unwrap_or(recorded.len());
    match (first..=last).zip(offset..).find(|(seed, i)| at(*i) != Some(*seed)) {
        Some((seed, _)) => Err(CannotCompare::NotRecorded { path: path.to_owned(), seed }),
        None => Ok(&recorded[offset..=offset + (last - first) as usize]),
    }
}

/// The first pair of lines that differ: recorded, played.
fn first_difference<'a>(recorded: &'a Block, played: &'a Block) -> Option<(&'a str, &'a str)> {
    let line = |block: &'a Block, i: usize| block.lines.get(i).map_or(NO_LINE, String::as_str);
    (0..recorded.lines.len().max(played.lines.len()))
        .map(|i| (line(recorded, i), line(played, i)))
        .find(|(was, is)| was != is)
}

/// The child that plays.
struct Playing {
    child: Child,
    blocks: Blocks<ChildStdout>,
}

impl Playing {
    fn start(first: u64, last: u64, steps: u32) -> Result<Playing, CannotCompare> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([first.to_string(), last.to_string(), steps.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().expect("stdout is piped");
        Ok(Playing { child, blocks: Blocks::new(stdout) })
    }

    /// The next seed that the child finishes.
    fn next_seed(&mut self) -> Result<Block, CannotCompare> {
        let Some(block) = self.blocks.next().transpose()? else {
            return Err(CannotCompare::ChildStatus(self.child.wait()?));
        };
        let refused = block.lines.first().and_then(|line| line.strip_prefix(CANNOT_OPEN));
        match refused.and_then(|errno| errno.parse().ok()) {
            Some(errno) => {
                self.child.kill()?;
                self.child.wait()?;
                Err(CannotCompare::NoIommu(errno))
            }
            None => Ok(block),
        }
    }

    fn finish(mut self) -> Result<(), CannotCompare> {
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(CannotCompare::ChildStatus(status)) }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;
    use std::path::Path;

    use super::{Block, Blocks, NO_LINE, first_difference, select, steps_of};

    fn blocks(text: &str) -> Vec<Block> {
        Blocks::new(text.as_bytes()).collect::<Result<_, _>>().expect("well-formed")
    }

    #[test]
    fn output_splits_at_seeds_and_keeps_empty_lines() {
        let read = blocks("== seed 4\n0 a\n\n2 b\n== seed 5\n== seed 6\n0 c\n");
        let lines: Vec<(u64, Vec<&str>)> =
            read.iter().map(|b| (b.seed, b.lines.iter().map(String::as_str).collect())).collect();
        assert_eq!(lines, [(4, vec!["0 a", "", "2 b"]), (5, vec![]), (6, vec!["0 c"])]);
        assert_eq!(steps_of(&read), 3);
        assert!(Blocks::new("stray\n".as_bytes()).next().is_some_and(|block| block.is_err()));
    }

    type Pair = (&'static str, &'static str);

    #[test]
    fn the_first_differing_pair_is_found() {
        #[rustfmt::skip] // one pair of seeds, one line
        let cases: &[(&str, &str, Option<Pair>)] = &[
            ("0 a\n1 b\n", "0 a\n1 b\n", None),
            ("0 a\n1 b\n", "0 a\n1 c\n", Some(("1 b", "1 c"))),
            ("0 a\n1 b\n", "0 a\n",      Some(("1 b", NO_LINE))),
            ("0 a\n",      "0 a\n1 b\n", Some((NO_LINE, "1 b"))),
            ("0 a\n1 b\n", "0 x\n1 y\n", Some(("0 a", "0 x"))),
        ];
        for (was, is, expected) in cases {
            let (was, is) =
                (blocks(&format!("== seed 1\n{was}")), blocks(&format!("== seed 1\n{is}")));
            assert_eq!(first_difference(&was[0], &is[0]), *expected);
        }
    }

    #[test]
    fn seeds_are_selected_or_refused() {
        let recorded = blocks("== seed 3\n== seed 4\n== seed 5\n== seed 9\n");
        let selected = |seeds| {
            let chosen = select(Path::new("r"), &recorded, Some(seeds))
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(chosen.iter().map(|block| block.seed).collect::<Vec<_>>())
        };
        assert_eq!(selected(3..=5), Ok(vec![3, 4, 5]));
        assert_eq!(selected(4..=4), Ok(vec![4]));
        assert_eq!(selected(4..=6), Err("r: has no seed 6".into()));
        assert_eq!(selected(2..=3), Err("r: has no seed 2".into()));
        assert_eq!(selected(RangeInclusive::new(9, 3)), Err("r: holds no seeds 9 to 3".into()));
        assert!(select(Path::new("r"), &[], None).is_err());
    }
}
