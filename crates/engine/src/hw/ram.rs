//! Memory for tests.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use pt::TableMemory;

/// Words at addresses of a range; those that are not told are 0.
#[derive(Clone, Debug)]
pub(crate) struct Ram {
    addresses: Range<u64>,
    words: RefCell<BTreeMap<u64, u64>>,
}

/// The error of an address outside.
#[derive(Debug)]
pub(crate) struct Outside;

impl Ram {
    pub fn new(addresses: Range<u64>, words: BTreeMap<u64, u64>) -> Self {
        Self { addresses, words: RefCell::new(words) }
    }

    /// A word, wherever it is.
    pub fn word(&self, address: u64) -> u64 {
        self.words.borrow().get(&address).copied().unwrap_or(0)
    }

    pub fn set(&self, address: u64, word: u64) {
        self.words.borrow_mut().insert(address, word);
    }

    pub fn into_words(self) -> BTreeMap<u64, u64> {
        self.words.into_inner()
    }
}

impl TableMemory for Ram {
    type Error = Outside;

    fn load(&self, address: u64) -> Result<u64, Outside> {
        assert_eq!(address % 8, 0, "a word is aligned");
        if self.addresses.contains(&address) { Ok(self.word(address)) } else { Err(Outside) }
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        let same = self.load(address)? == old;
        if same {
            self.set(address, new);
        }
        Ok(same)
    }
}
