//! What a real kernel answered.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use engine::Engine;
use flate2::read::GzDecoder;

use super::play;

/// The lines of seeds.
#[derive(Clone, Debug)]
pub struct Recording(BTreeMap<u64, Vec<String>>);

/// A seed that is answered differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The seed.
    pub seed: u64,
    /// Its first line that differs, as recorded and as played.
    pub lines: (String, String),
}

impl Recording {
    /// Reads a file of `conformance/recorded`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        GzDecoder::new(File::open(path)?).read_to_string(&mut text)?;
        let mut seeds = BTreeMap::new();
        let mut seed = None;
        for line in text.lines() {
            if let Some(number) = line.strip_prefix("== seed ") {
                seed = number.parse().ok();
            } else if let Some(seed) = seed {
                seeds.entry(seed).or_insert_with(Vec::new).push(line.to_owned());
            }
        }
        Ok(Self(seeds))
    }

    /// How many seeds it has.
    pub fn seeds(&self) -> usize {
        self.0.len()
    }

    /// Plays every seed on the first VFIO device of a machine, one program after the other.
    pub fn differences(&self, engine: &Arc<Engine>) -> Vec<Difference> {
        let mut found = Vec::new();
        for (seed, recorded) in &self.0 {
            let played = play(engine, *seed);
            let longest = recorded.len().max(played.len());
            let line = |lines: &[String], at| lines.get(at).cloned().unwrap_or_default();
            let differs = (0..longest).find(|at| line(recorded, *at) != line(&played, *at));
            if let Some(at) = differs {
                found.push(Difference {
                    seed: *seed,
                    lines: (line(recorded, at), line(&played, at)),
                });
            }
        }
        found
    }
}
