//! Which processors are near a device: all that are online, since no device of ours is on a NUMA node.

/// Processors as the kernel lists them, `0-3,8`, and as a mask of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    pub(super) list: String,
    pub(super) mask: String,
}

/// More processors than any kernel is made for (`NR_CPUS`).
const MOST: usize = 8192;

impl Cpus {
    /// Reads a list; one processor where it is none.
    pub fn new(list: &str) -> Self {
        let read = |list: &str| Some(Self { list: list.to_owned(), mask: mask(list)? });
        read(list.trim_end()).unwrap_or(Self { list: "0".to_owned(), mask: "1".to_owned() })
    }
}

/// Words of 32 bits in hexadecimal, the highest first and as short as the number of processors lets it be
/// (`bitmap_string` in `lib/vsprintf.c`).
fn mask(list: &str) -> Option<String> {
    let mut words = vec![0_u32];
    let mut last = 0;
    for range in list.split(',') {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        if to >= MOST {
            return None;
        }
        last = last.max(to);
        words.resize(words.len().max(to / 32 + 1), 0);
        (from..=to).for_each(|cpu| words[cpu / 32] |= 1 << (cpu % 32));
    }
    let first = last % 32 / 4 + 1;
    let (highest, others) = words.split_last()?;
    let others = others.iter().rev().map(|word| format!(",{word:08x}"));
    Some(format!("{highest:0first$x}{}", others.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        #[rustfmt::skip] // one list, one line
        let cases = [
            ("0",            "0",        "1"),
            ("0-1\n",        "0-1",      "3"),
            ("0-3,8",        "0-3,8",    "10f"),
            ("1,31",         "1,31",     "80000002"),
            ("0-32",         "0-32",     "1,ffffffff"),
            ("0-71",         "0-71",     "ff,ffffffff,ffffffff"),
            ("",             "0",        "1"),
            ("0-99999999",   "0",        "1"),
            ("x",            "0",        "1"),
        ];
        for (list, shown, mask) in cases {
            let expected = Cpus { list: shown.to_owned(), mask: mask.to_owned() };
            assert_eq!(Cpus::new(list), expected, "{list:?}");
        }
    }
}
