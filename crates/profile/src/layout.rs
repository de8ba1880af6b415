//! Structs of user APIs as data, and a judge of how one became another.
//!
//! A program and a kernel may be of different years. A struct between them stays usable when the newer of
//! two layouts is an *extension* of the older: [`judge`] says which [`Step`]s an extension is made of, or
//! which [`Rule`] it breaks. The rules are those that the authors of the IOMMU user API came to in 2020,
//! and that iommufd's structs have followed since:
//!
//! - bytes that were padding may get a meaning, with a flag that is new;
//! - a union at the end may get a member, which may be longer; nothing ever comes behind that union;
//! - a struct without such a union may grow at its end, if its first field is its size;
//! - all else stays: places, lengths, values of flags.
//!
//! Whether a flag is needed at the end depends on what a kernel does with bytes that it does not know. With
//! `size`, iommufd refuses them unless they are 0, so that a field which is 0 when absent needs no flag. With
//! `argsz`, the structs of 2020 and all of VFIO (but binding, since 6.17) ignore them, so that only an unknown
//! flag can be refused.
//!
//! | module | holds |
//! |---|---|
//! | [`rule`] | the rules, and the judge |
//! | [`history`] | headers of releases beside each other: what each did |
//!
//! **What it doesn't do:** judge the meaning of a field. That two releases say different things by the same
//! bytes is a quirk ([`crate::kernel`]).

pub mod history;
pub mod rule;

pub use history::{Change, Header, What};
pub use rule::{Broken, Rule, Step, judge};

/// A struct of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// As the header spells it.
    pub name: String,
    /// Its bytes.
    pub size: usize,
    /// Its fields; members of a union have the same offset.
    pub fields: Vec<Field>,
    /// The constants of the header that tell of fields, with their values: flags, and values of a field that
    /// selects a member of a union.
    pub constants: Vec<(String, i128)>,
}

/// A field of a [`Layout`], or a member of a union in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As the header spells it. With the name of its union in front, `granu.addr_info`, it is the same field as
    /// without.
    pub name: String,
    /// Where it begins.
    pub offset: usize,
    /// Its bytes; 0 for elements behind the struct.
    pub size: usize,
    /// Its type, as the header spells it.
    pub ctype: String,
    /// Whether it is a member of a union.
    pub member: bool,
    /// The constant without which nobody looks at it.
    pub told_by: Option<String>,
}

/// How a struct says how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// `size`: unknown bytes are refused unless they are 0.
    Checked,
    /// `argsz`: unknown bytes are ignored.
    Ignored,
    /// Not at all.
    Unsaid,
}

impl Layout {
    /// A struct without flags. Fields that overlap are members of a union.
    pub fn new(name: &str, size: usize, mut fields: Vec<Field>) -> Self {
        let spans: Vec<_> = fields.iter().map(|field| (field.offset, field.end())).collect();
        for (index, field) in fields.iter_mut().enumerate() {
            let mut others = spans.iter().enumerate().filter(|(other, _)| *other != index);
            field.member |= others.any(|(_, &(start, end))| field.meets(start, end));
        }
        Self { name: name.to_owned(), size, fields, constants: Vec::new() }
    }

    /// How it says how long it is: by its first field.
    pub fn length(&self) -> Length {
        match self.fields.first().map(|field| field.name.as_str()) {
            Some("size") => Length::Checked,
            Some("argsz") => Length::Ignored,
            _ => Length::Unsaid,
        }
    }

    /// Where the union at its end begins, if it ends in one.
    pub fn union_at_end(&self) -> Option<usize> {
        let members = || self.fields.iter().filter(|field| field.member);
        let start = members().map(|field| field.offset).max()?;
        let last = members().filter(|field| field.offset == start).map(Field::end).max();
        (last == Some(self.size)).then_some(start)
    }

    /// The field with a name, whatever union it is in.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.own_name() == name)
    }
}

impl Field {
    /// A field, or a member of the union at the end, that nothing tells of.
    pub fn new(name: &str, offset: usize, size: usize, ctype: &str) -> Self {
        let (name, ctype) = (name.to_owned(), ctype.to_owned());
        Self { name, offset, size, ctype, member: false, told_by: None }
    }

    /// Its name without that of its union.
    pub fn own_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// The byte behind it.
    pub fn end(&self) -> usize {
        self.offset + self.size
    }

    /// Whether it has no meaning yet, as its name says.
    pub fn is_padding(&self) -> bool {
        let name = self.own_name().trim_start_matches('_');
        ["padding", "reserved", "pad"].iter().any(|stem| {
            name.strip_prefix(stem).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
        })
    }

    /// Whether it is written by the kernel alone, as its name says: 0 from one that does not know it.
    pub fn is_answer(&self) -> bool {
        self.own_name().starts_with("out_")
    }

    /// What its offset must be a multiple of. Structs begin at 8 bytes, for 32-bit programs too.
    pub fn alignment(&self) -> usize {
        let scalar =
            self.ctype.trim_start_matches('_').split(['[', ' ']).next().unwrap_or_default();
        match scalar {
            "u8" | "s8" | "char" => 1,
            "u16" | "s16" | "le16" => 2,
            "u32" | "s32" | "le32" | "int" => 4,
            _ => 8,
        }
    }

    /// Whether it has a byte of a span.
    pub fn meets(&self, start: usize, end: usize) -> bool {
        self.offset < end && start < self.end()
    }
}

/// A struct of the API of 2020.
impl From<&uapi::y2020::layouts::Struct> for Layout {
    fn from(facts: &uapi::y2020::layouts::Struct) -> Self {
        let field = |it: &uapi::y2020::layouts::Field| Field {
            member: it.member,
            ..Field::new(it.name, it.offset, it.size, it.ctype)
        };
        Self::new(facts.name, facts.size, facts.fields.iter().map(field).collect())
    }
}
