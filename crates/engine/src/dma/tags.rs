//! By what caches tell translations apart.

use std::collections::BTreeMap;

use mem::PAGE_SIZE;

/// A translation space in the cache: what hardware tags entries with.
///
/// | hardware | `domain` | `space` |
/// |---|---|---|
/// | VT-d | domain ID | PASID |
/// | SMMUv3 | VMID | ASID |
/// | AMD | domain ID | PASID |
/// | RISC-V | GSCID | PSCID |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag {
    pub domain: u64,
    pub space: u32,
}

/// The number of a [`Tag`] in one cache. 0 is none.
pub(super) type TagId = u16;

/// Bits of a number: as many as an address has below its page.
pub(super) const TAG_BITS: u32 = PAGE_SIZE.trailing_zeros();

/// The largest number; the one above it is no tag's, either.
const MAX_TAGS: usize = (1 << TAG_BITS) - 2;

/// The tags of a cache, numbered.
#[derive(Debug, Default)]
pub(super) struct Tags {
    numbers: BTreeMap<Tag, TagId>,
}

/// Some tags of a cache, by their numbers.
#[derive(Debug)]
pub(super) struct TagSet {
    numbers: Vec<TagId>,
    bits: [u64; MAX_TAGS / 64 + 1],
}

impl Tags {
    /// The number that a tag has; none when it has none.
    pub fn known(&self, tag: Tag) -> Option<TagId> {
        self.numbers.get(&tag).copied()
    }

    /// The number of a tag; none when there is no number left.
    pub fn number(&mut self, tag: Tag) -> Option<TagId> {
        self.known(tag).or_else(|| {
            (self.numbers.len() < MAX_TAGS).then(|| {
                let number = self.numbers.len() as TagId + 1;
                self.numbers.insert(tag, number);
                number
            })
        })
    }

    /// The tags for which something holds.
    pub fn matching(&self, holds: &dyn Fn(&Tag) -> bool) -> TagSet {
        let matching = self.numbers.iter().filter(|(tag, _)| holds(tag));
        let numbers: Vec<_> = matching.map(|(_, number)| *number).collect();
        let mut bits = [0; _];
        numbers.iter().for_each(|number| bits[usize::from(number / 64)] |= 1 << (number % 64));
        TagSet { numbers, bits }
    }

    pub fn clear(&mut self) {
        self.numbers.clear();
    }
}

impl TagSet {
    pub fn numbers(&self) -> &[TagId] {
        &self.numbers
    }

    pub fn contains(&self, number: TagId) -> bool {
        let word = self.bits.get(usize::from(number / 64)).copied().unwrap_or(0);
        word & 1 << (number % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_until_none_is_left() {
        let mut tags = Tags::default();
        let tag = |space| Tag { domain: 7, space };
        for space in 0..MAX_TAGS as u32 {
            assert_eq!(tags.number(tag(space)), Some(space as TagId + 1));
        }
        assert_eq!(tags.number(tag(u32::MAX)), None);
        assert_eq!(tags.number(tag(5)), Some(6));
        let odd = tags.matching(&|tag| tag.space % 2 == 1);
        assert_eq!(odd.numbers().len(), MAX_TAGS / 2);
        for number in 0..=1 << TAG_BITS {
            let is_odd = number % 2 == 0 && (1..=MAX_TAGS as TagId).contains(&number);
            assert_eq!(odd.contains(number), is_odd, "{number}");
        }
    }
}
