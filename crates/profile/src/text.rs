//! Reading the TOML files of this crate, strictly.
//!
//! A file that is wrong is refused with the file, the line, the key and the nearest key that would be
//! right. So a [`Table`] notes which keys it was asked for, and [`Table::finish`] refuses all others.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::fmt::Display;
use std::ops::Range;

use thiserror::Error;
use toml::de::{DeTable, DeValue, Error};

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadFile {
    /// It cannot be read.
    #[error("{file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// It is no TOML.
    #[error("{file}:{line}: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A key that means nothing.
    #[error("{file}:{line}: unknown key `{key}`{}", nearest.as_ref().map_or_else(
        || format!("; known here: {}", known.join(", ")),
        |nearest| format!("; did you mean `{nearest}`?"),
    ))]
    UnknownKey {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key, with its tables.
        key: String,
        /// The most similar key that is known there.
        nearest: Option<String>,
        /// Every key that is known there.
        known: Vec<String>,
    },
    /// A key that must be there and is not.
    #[error("{file}:{line}: `{key}` is missing")]
    MissingKey {
        /// The file.
        file: String,
        /// The line of the table that should have it, from 1.
        line: usize,
        /// The key, with its tables.
        key: String,
    },
    /// A value that cannot be.
    #[error("{file}:{line}: `{key}` is {value}: {rule}")]
    BadValue {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key, with its tables.
        key: String,
        /// The value.
        value: String,
        /// What it must be.
        rule: String,
    },
}

/// A result of reading.
pub(crate) type Result<T, E = BadFile> = std::result::Result<T, E>;

/// A file's name and text, for the places of what is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'t> {
    pub name: &'t str,
    pub text: &'t str,
}

impl<'t> Source<'t> {
    /// Reads the whole file with `read`; every key that it does not ask for is refused.
    pub fn parse<T>(self, read: impl FnOnce(&Table<'_, 't>) -> Result<T>) -> Result<T> {
        let (parsed, errors) = DeTable::parse_recoverable(self.text);
        // what follows a mistake is often taken for others
        let start = |error: &Error| error.span().map_or(0, |span| span.start);
        if let Some(error) = errors.into_iter().min_by_key(start) {
            return Err(BadFile::Syntax {
                file: self.name.to_owned(),
                line: error.span().map_or(1, |span| self.line(&span)),
                reason: error.message().to_owned(),
            });
        }
        let table = Table::new(self, String::new(), 0..0, parsed.get_ref());
        let value = read(&table)?;
        table.finish()?;
        Ok(value)
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or_default();
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }
}

/// A table of a file.
pub(crate) struct Table<'d, 't> {
    source: Source<'t>,
    /// The tables it is in, with a dot at the end, or nothing.
    path: String,
    span: Range<usize>,
    entries: &'d DeTable<'t>,
    asked: RefCell<Vec<&'static str>>,
    /// Whether every key is right.
    all: Cell<bool>,
}

impl<'d, 't> Table<'d, 't> {
    fn new(source: Source<'t>, path: String, span: Range<usize>, entries: &'d DeTable<'t>) -> Self {
        Self { source, path, span, entries, asked: RefCell::default(), all: Cell::new(false) }
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &'static str) -> Option<Value<'d, 't>> {
        self.asked.borrow_mut().push(key);
        let value = self.entries.get(key)?;
        let path = self.path_of(key);
        Some(Value { source: self.source, path, span: value.span(), value: value.get_ref() })
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &'static str) -> Result<Value<'d, 't>> {
        self.get(key).ok_or_else(|| self.misspelt(key))
    }

    /// A missing key: perhaps another one is it, with a mistake.
    fn misspelt(&self, key: &'static str) -> BadFile {
        let file = self.source.name.to_owned();
        let unasked = self
            .entries
            .keys()
            .filter(|other| !self.asked.borrow().contains(&other.get_ref().as_ref()));
        // a short key is near to too many
        let similar = |other: &str| key.len() > 3 && mistakes(other, key).is_some();
        match unasked.into_iter().find(|other| similar(other.get_ref())) {
            Some(other) => BadFile::UnknownKey {
                file,
                line: self.source.line(&other.span()),
                key: self.path_of(other.get_ref()),
                nearest: Some(key.to_owned()),
                known: vec![key.to_owned()],
            },
            None => BadFile::MissingKey {
                file,
                line: self.source.line(&self.span),
                key: self.path_of(key),
            },
        }
    }

    /// Reads each table of an array of tables; an absent one is empty.
    pub fn each<T>(
        &self,
        key: &'static str,
        read: impl FnMut(&Table<'d, 't>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut read = read;
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        value.items()?.iter().map(|item| item.table(&mut read)).collect()
    }

    /// Whether a key was asked for.
    pub fn is_asked(&self, key: &str) -> bool {
        self.asked.borrow().contains(&key)
    }

    /// The keys that are there.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|key| key.get_ref().as_ref())
    }

    /// Refuses a file of another kind, which a key gives away: each with what to say.
    pub fn refuse_others(&self, others: &[(&'static str, &str)]) -> Result<()> {
        let found = others.iter().find(|(key, _)| self.keys().any(|known| known == *key));
        found.map_or(Ok(()), |(key, says)| Err(self.need(key)?.bad(says)))
    }

    /// Leaves the whole table to another reader.
    pub fn ignore(&self) -> Result<()> {
        self.all.set(true);
        Ok(())
    }

    /// A key, with its tables.
    pub fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// Refuses what nobody asked for.
    fn finish(&self) -> Result<()> {
        let asked = self.asked.borrow();
        if self.all.get() {
            return Ok(());
        }
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let place = (self.source, key.span(), self.path_of(name));
                return Err(unknown_key(place, name, asked.iter().copied()));
            }
        }
        Ok(())
    }
}

/// A value of a file.
pub(crate) struct Value<'d, 't> {
    source: Source<'t>,
    /// The key, with its tables.
    path: String,
    span: Range<usize>,
    value: &'d DeValue<'t>,
}

impl<'d, 't> Value<'d, 't> {
    /// Refuses the value.
    pub fn bad(&self, rule: impl Display) -> BadFile {
        BadFile::BadValue {
            file: self.source.name.to_owned(),
            line: self.source.line(&self.span),
            key: self.path.clone(),
            value: match self.value {
                DeValue::String(text) if text.len() > 100 => format!("of {} bytes", text.len()),
                DeValue::String(text) => format!("{text:?}"),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Boolean(flag) => flag.to_string(),
                DeValue::Array(_) => "an array".to_owned(),
                DeValue::Table(_) => "a table".to_owned(),
                other => format!("of type {}", other.type_str()),
            },
            rule: rule.to_string(),
        }
    }

    /// Refuses the value, which is a name, and tells the nearest that is known.
    pub fn unknown_name<'k>(&self, what: &str, known: impl Iterator<Item = &'k str>) -> BadFile {
        let known: Vec<_> = known.collect();
        let name = self.value.as_str().unwrap_or_default();
        match nearest(name, known.iter().copied()) {
            Some(nearest) => self.bad(format!("no such {what}; did you mean \"{nearest}\"?")),
            None => self.bad(format!("no such {what}; known: {}", known.join(", "))),
        }
    }

    /// Refuses the key, which is a name, and tells the nearest that is known.
    pub fn unknown_key<'k>(&self, known: impl Iterator<Item = &'k str>) -> BadFile {
        let name = self.path.rsplit_once('.').map_or(&*self.path, |(_, name)| name);
        unknown_key((self.source, self.span.clone(), self.path.clone()), name, known)
    }

    /// One of several names, and what it stands for.
    pub fn one_of<T: Copy>(&self, what: &str, known: &[(&str, T)]) -> Result<T> {
        let name = self.string()?;
        let found = known.iter().find(|(known, _)| *known == name);
        let names = known.iter().map(|(name, _)| *name);
        found.map(|(_, value)| *value).ok_or_else(|| self.unknown_name(what, names))
    }

    pub fn string(&self) -> Result<&'d str> {
        self.value.as_str().ok_or_else(|| self.bad("must be a string"))
    }

    pub fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.bad("must be true or false"))
    }

    /// A number of 64 bits without sign.
    pub fn number(&self) -> Result<u64> {
        let number = self.value.as_integer().ok_or_else(|| self.bad("must be a number"))?;
        u64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| self.bad("must be between 0 and 2^64 - 1"))
    }

    /// A number up to `last`.
    pub fn number_to(&self, last: u64) -> Result<u64> {
        match self.number()? {
            number if number <= last => Ok(number),
            _ => Err(self.bad(format!("must be at most {last}"))),
        }
    }

    /// The elements of an array.
    pub fn items(&self) -> Result<Vec<Value<'d, 't>>> {
        let array = self.value.as_array().ok_or_else(|| match self.value {
            DeValue::Table(_) => self.bad(format!("must be an array: write [[{}]]", self.path)),
            _ => self.bad("must be an array"),
        })?;
        let item = |(index, value): (usize, &'d toml::Spanned<DeValue<'t>>)| Value {
            source: self.source,
            path: format!("{}[{index}]", self.path),
            span: value.span(),
            value: value.get_ref(),
        };
        Ok(array.iter().enumerate().map(item).collect())
    }

    /// Reads a table; every key that `read` does not ask for is refused.
    pub fn table<T>(&self, read: impl FnOnce(&Table<'d, 't>) -> Result<T>) -> Result<T> {
        let entries = self.value.as_table().ok_or_else(|| self.bad("must be a table"))?;
        let path = format!("{}.", self.path);
        let table = Table::new(self.source, path, self.span.clone(), entries);
        let value = read(&table)?;
        table.finish()?;
        Ok(value)
    }

    /// A table whose keys are names, not read here but by the caller.
    pub fn names<T>(
        &self,
        mut read: impl FnMut(&str, &Value<'d, 't>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let entries = self.value.as_table().ok_or_else(|| self.bad("must be a table"))?;
        let named = |(key, value): (&toml::Spanned<_>, &'d toml::Spanned<DeValue<'t>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let path = format!("{}.{name}", self.path);
            let (source, span) = (self.source, key.span());
            read(name, &Value { source, path, span, value: value.get_ref() })
        };
        entries.iter().map(named).collect()
    }
}

fn unknown_key<'k>(
    (source, span, key): (Source<'_>, Range<usize>, String),
    name: &str,
    known: impl Iterator<Item = &'k str>,
) -> BadFile {
    let mut known: Vec<_> = known.map(str::to_owned).collect();
    known.sort_unstable();
    known.dedup();
    let nearest = nearest(name, known.iter().map(String::as_str));
    BadFile::UnknownKey {
        file: source.name.to_owned(),
        line: source.line(&span),
        key,
        nearest,
        known,
    }
}

/// Whether a name means a file, and not something shipped.
pub(crate) fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml")
}

/// The text of a file.
pub(crate) fn read_file(name: &str) -> Result<String> {
    std::fs::read_to_string(name)
        .map_err(|error| BadFile::Unreadable { file: name.to_owned(), reason: error.to_string() })
}

/// The known name that is most similar, if any is similar enough to be meant.
pub(crate) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    let near = known.filter_map(|known| Some((mistakes(name, known)?, known)));
    // of equals the longest: names are cut short more often than they are drawn out
    let best = near.min_by_key(|(mistakes, known)| (*mistakes, Reverse(known.len())));
    best.map(|(_, known)| known.to_owned())
}

/// The letters that are missing, too many, others or swapped, if a name may be meant to be another: at
/// most one in three. Capitals are no mistake.
fn mistakes(name: &str, meant: &str) -> Option<usize> {
    let most = name.len().max(meant.len()) / 3;
    // a long name is not worth the comparison
    if name.len().abs_diff(meant.len()) > most {
        return None;
    }
    let (name, meant) = (name.to_ascii_lowercase(), meant.to_ascii_lowercase());
    Some(strsim::damerau_levenshtein(&name, &meant)).filter(|mistakes| *mistakes <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static str, Result<(&'static str, u64), &'static str>);

    fn read(text: &str) -> Result<(String, u64), String> {
        let source = Source { name: "x.toml", text };
        let read = source.parse(|table| {
            let name = table.need("name")?.string()?.to_owned();
            let widths = table.each("device", |device| device.need("width")?.number_to(64))?;
            table.get("summary").map(|summary| summary.string().map(drop)).transpose()?;
            Ok((name, widths.iter().sum()))
        });
        read.map_err(|bad| bad.to_string())
    }

    #[test]
    fn wrong_files_are_named() {
        #[rustfmt::skip] // one file, one line
        let cases: &[Case] = &[
            ("name = \"a\"",                               Ok(("a", 0))),
            ("name = \"a\"\n[[device]]\nwidth = 0x10\n[[device]]\nwidth = 4", Ok(("a", 20))),
            ("summary = \"a\"",                            Err("x.toml:1: `name` is missing")),
            ("summary = \"a\"\nnam = \"b\"",              Err("x.toml:2: unknown key `nam`; did you mean `name`?")),
            ("name = \"a\"\n\nsumary = \"b\"",             Err("x.toml:3: unknown key `sumary`; did you mean `summary`?")),
            ("name = \"a\"\nqqq = 1",                      Err("x.toml:2: unknown key `qqq`; known here: device, name, summary")),
            ("name = 'a'\n[[device]]\nwidth = \"1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890x\"", Err("x.toml:3: `device[0].width` is of 101 bytes: must be a number")),
            ("name = 1",                                   Err("x.toml:1: `name` is 1: must be a string")),
            ("name = \"a\"\ndevice = 3",                   Err("x.toml:2: `device` is 3: must be an array")),
            ("name = \"a\"\n[[device]]\n\nwidht = 1",      Err("x.toml:4: unknown key `device[0].widht`; did you mean `width`?")),
            ("name = \"a\"\n[[device]]",                  Err("x.toml:2: `device[0].width` is missing")),
            ("name = \"a\"\n[[device]]\nwidth = 65",       Err("x.toml:3: `device[0].width` is 65: must be at most 64")),
            ("name = \"a\"\n[[device]]\nwidth = -1",       Err("x.toml:3: `device[0].width` is -1: must be between 0 and 2^64 - 1")),
            ("name = \"a\"\n[[device]]\nwidth = 1\nw = 2", Err("x.toml:4: unknown key `device[0].w`; known here: width")),
            ("name = \"a\nsummary",                        Err("x.toml:1: invalid basic string, expected `\"`")),
            ("name = ",                                    Err("x.toml:1: string values must be quoted, expected literal string")),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(n, w)| (n.to_owned(), w)).map_err(str::to_owned);
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn names_that_may_be_meant() {
        #[rustfmt::skip] // as many as fit in a line
        const KNOWN: &[&str] = &[
            "spr", "icx", "grace", "genoa", "riscv", "none", "selftest", "bind", "intel-vtd",
            "arm-smmuv3", "nesting-parent", "pasid-nesting-parent", "EINVAL", "iommu", "iommufd",
        ];
        #[rustfmt::skip] // one name, one line
        let cases: &[(&str, Option<&str>)] = &[
            ("SPR",             Some("spr")),
            ("sprr",            Some("spr")),
            ("sp",              Some("spr")),
            ("grase",           Some("grace")),
            ("gneoa",           Some("genoa")),
            ("riscv64",         Some("riscv")),
            ("non",             Some("none")),
            ("iommuf",          Some("iommufd")),
            ("bnid",            Some("bind")),
            ("intel-vdt",       Some("intel-vtd")),
            ("intel_vtd",       Some("intel-vtd")),
            ("EINVALID",        Some("EINVAL")),
            ("nesting-parrent", Some("nesting-parent")),
            ("pasid-nesting-parnet", Some("pasid-nesting-parent")),
            ("node7",           None),
            ("nofile",          None),
            ("s",               None),
            ("xyz",             None),
            ("host",            None),
            ("milan",           None),
            ("vtd",             None),
            ("blind-test",      None),
            ("",                None),
        ];
        for (name, expected) in cases {
            let found = nearest(name, KNOWN.iter().copied());
            assert_eq!(found.as_deref(), *expected, "{name}");
        }
    }
}
