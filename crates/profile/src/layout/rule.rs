//! The rules of extension, and the judge.

use std::fmt;

use thiserror::Error;

use super::{Field, Layout, Length};

macro_rules! rules {
    ($($variant:ident = $name:literal, $says:literal;)+) => {
        /// What an extension must keep to. The first that is broken, in this order, is named.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $says] $variant,)+
        }

        impl Rule {
            /// Every rule, in the order in which they are judged.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)+ }
            }

            /// What it says.
            pub const fn says(self) -> &'static str {
                match self { $(Rule::$variant => $says,)+ }
            }
        }
    };
}

rules! {
    Removed = "removed", "a field with a meaning stays";
    Moved = "moved", "a field stays where it is";
    Resized = "resized", "a field keeps its length";
    ConstantChanged = "constant-changed", "a flag keeps its value";
    Shrunk = "shrunk", "a struct does not get shorter";
    Unaligned = "unaligned", "a new field begins at a multiple of its own length, a struct at one of 8 bytes";
    AfterUnion = "after-union", "nothing comes behind the union at the end, whose length changes";
    Overlaps = "overlaps", "bytes with a meaning get no second one without a flag";
    NoSize = "no-size", "a struct grows at its end only if its first field is its size";
    WithoutFlag = "without-flag", "a new field has a flag, unless it is an answer, or is 0 when absent and refused when unknown";
    OldFlag = "old-flag", "the flag of a new field is new itself: older kernels must refuse it";
    Hole = "hole", "every byte has a name: padding by the compiler differs between machines";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A layout that is no extension of an older one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("struct {name}: {what} (rule {rule}: {})", rule.says())]
pub struct Broken {
    /// The struct.
    pub name: String,
    /// The rule that it breaks.
    pub rule: Rule,
    /// What breaks it: the field, with what it is and was.
    pub what: String,
}

/// A part of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Padding of the compiler got a name.
    Named {
        /// The padding.
        field: String,
    },
    /// A field in what was padding.
    InPadding {
        /// The field.
        field: String,
        /// The constant that tells of it; none tells of an answer.
        told_by: Option<String>,
    },
    /// A second meaning for bytes that have one.
    SecondMeaning {
        /// The new name.
        field: String,
        /// The old one.
        of: String,
        /// The constant that tells of it.
        told_by: String,
    },
    /// A member of the union at the end.
    Member {
        /// The member.
        field: String,
        /// The constant that tells of it.
        told_by: String,
    },
    /// Fields at the end.
    Grown {
        /// The fields.
        fields: Vec<String>,
        /// Constants that tell of some.
        told_by: Vec<String>,
    },
    /// The struct is longer, by a field at the end or a member of the union.
    Longer {
        /// Bytes before.
        from: usize,
        /// Bytes now.
        to: usize,
    },
    /// Fields have another type of the same length.
    Retyped {
        /// The fields.
        fields: Vec<String>,
        /// The type.
        ctype: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |names: &[String]| {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        match self {
            Step::Named { field } => write!(f, "padding of the compiler is named `{field}`"),
            Step::InPadding { field, told_by: Some(by) } => {
                write!(f, "`{field}` in padding, with `{by}`")
            }
            Step::InPadding { field, told_by: None } => {
                write!(f, "`{field}` in padding, an answer")
            }
            Step::SecondMeaning { field, of, told_by } => {
                write!(f, "`{field}` over `{of}`, with `{told_by}`")
            }
            Step::Member { field, told_by } => write!(f, "member `{field}`, with `{told_by}`"),
            Step::Grown { fields, told_by } if told_by.is_empty() => {
                write!(f, "{} at the end", quoted(fields))
            }
            Step::Grown { fields, told_by } => {
                write!(f, "{} at the end, with {}", quoted(fields), quoted(told_by))
            }
            Step::Longer { from, to } => write!(f, "{from} to {to} bytes"),
            Step::Retyped { fields, ctype } => write!(f, "`{ctype}`: {}", quoted(fields)),
        }
    }
}

/// What a new layout did to an old one of the same struct; nothing, if they are the same.
pub fn judge(old: &Layout, new: &Layout) -> Result<Vec<Step>, Broken> {
    let judge = Judge { old, new };
    judge.what_was_stays()?;
    let mut steps = judge.retyped();
    let mut grown = (Vec::new(), Vec::new());
    let mut fields: Vec<_> = new.fields.iter().filter(|field| judge.is_new(field)).collect();
    fields.sort_by_key(|field| field.offset);
    for field in fields {
        match judge.place(field)? {
            Some(step) => steps.push(step),
            None => {
                grown.0.push(field.name.clone());
                grown.1.extend(field.told_by.clone());
            }
        }
    }
    judge.every_byte_has_a_name()?;
    if !grown.0.is_empty() {
        steps.push(Step::Grown { fields: grown.0, told_by: grown.1 });
    }
    if new.size > old.size {
        steps.push(Step::Longer { from: old.size, to: new.size });
    }
    Ok(steps)
}

struct Judge<'l> {
    old: &'l Layout,
    new: &'l Layout,
}

impl Judge<'_> {
    fn broken<T>(&self, rule: Rule, what: String) -> Result<T, Broken> {
        Err(Broken { name: self.new.name.clone(), rule, what })
    }

    /// What has a meaning is still there, and as it was.
    fn what_was_stays(&self) -> Result<(), Broken> {
        let Judge { old, new } = self;
        for was in old.fields.iter().filter(|field| !field.is_padding()) {
            let name = &was.name;
            let Some(is) = new.field(was.own_name()) else {
                return self.broken(Rule::Removed, format!("`{name}` is gone"));
            };
            if is.offset != was.offset {
                let what = format!("`{name}` is at {} and was at {}", is.offset, was.offset);
                return self.broken(Rule::Moved, what);
            }
            if is.size != was.size {
                let what = format!("`{name}` has {} bytes and had {}", is.size, was.size);
                return self.broken(Rule::Resized, what);
            }
        }
        for (name, was) in &old.constants {
            let is = new.constants.iter().find(|(new, _)| new == name).map(|(_, value)| value);
            if is != Some(was) {
                let is = is.map_or("gone".to_owned(), |is| format!("{is:#x}"));
                let what = format!("`{name}` is {is} and was {was:#x}");
                return self.broken(Rule::ConstantChanged, what);
            }
        }
        if new.size < old.size {
            let what = format!("{} bytes, and had {}", new.size, old.size);
            return self.broken(Rule::Shrunk, what);
        }
        Ok(())
    }

    fn retyped(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for is in self.new.fields.iter().filter(|field| !field.is_padding()) {
            let was = self.old.field(is.own_name());
            if was.is_none_or(|was| was.ctype == is.ctype) {
                continue;
            }
            let same = |step: &&mut Step| matches!(step, Step::Retyped { ctype, .. } if *ctype == is.ctype);
            match steps.iter_mut().find(same) {
                Some(Step::Retyped { fields, .. }) => fields.push(is.name.clone()),
                _ => steps
                    .push(Step::Retyped { fields: vec![is.name.clone()], ctype: is.ctype.clone() }),
            }
        }
        steps
    }

    /// Whether a field has a meaning, or a name, that its bytes had not.
    fn is_new(&self, field: &Field) -> bool {
        let padding = |was: &Field| was.is_padding() && was.meets(field.offset, field.end());
        match field.is_padding() {
            true => !self.old.fields.iter().any(padding),
            false => self.old.field(field.own_name()).is_none(),
        }
    }

    /// The step that a new field is, or none if it is one of those at the end.
    fn place(&self, field: &Field) -> Result<Option<Step>, Broken> {
        let Judge { old, .. } = self;
        let (name, offset) = (field.name.clone(), field.offset);
        let alignment = field.alignment();
        if !offset.is_multiple_of(alignment) {
            let what = format!("`{name}` is at {offset}, which {alignment} does not divide");
            return self.broken(Rule::Unaligned, what);
        }
        let met = |was: &&Field| !was.is_padding() && was.meets(offset, field.end());
        let over = old.fields.iter().find(met);
        if old.union_at_end() == Some(offset) {
            return Ok(Some(Step::Member { field: name, told_by: self.need_flag(field)? }));
        }
        if let Some(over) = over {
            let same = (over.offset, over.size) == (offset, field.size);
            if !same || field.told_by.is_none() {
                let what = format!("`{name}` lies over `{}`", over.name);
                return self.broken(Rule::Overlaps, what);
            }
            let (of, told_by) = (over.name.clone(), self.need_flag(field)?);
            return Ok(Some(Step::SecondMeaning { field: name, of, told_by }));
        }
        if field.end() <= old.size {
            if field.is_padding() {
                return Ok(Some(Step::Named { field: name }));
            }
            let told_by = match field.is_answer() && field.told_by.is_none() {
                true => None,
                false => Some(self.need_flag(field)?),
            };
            return Ok(Some(Step::InPadding { field: name, told_by }));
        }
        self.at_the_end(field)?;
        Ok(None)
    }

    fn at_the_end(&self, field: &Field) -> Result<(), Broken> {
        let Judge { old, .. } = self;
        let name = &field.name;
        if old.union_at_end().is_some() {
            let what = format!("`{name}` is at {}, behind the union", field.offset);
            return self.broken(Rule::AfterUnion, what);
        }
        let length = old.length();
        if length == Length::Unsaid {
            let what = format!("`{name}` makes it longer, and its size is not in it");
            return self.broken(Rule::NoSize, what);
        }
        let silent = field.is_padding() || field.is_answer() || length == Length::Checked;
        if !silent || field.told_by.is_some() {
            self.need_flag(field)?;
        }
        Ok(())
    }

    /// The constant that tells of a field, which the new header has and the old one has not.
    fn need_flag(&self, field: &Field) -> Result<String, Broken> {
        let name = &field.name;
        let Some(by) = &field.told_by else {
            return self.broken(Rule::WithoutFlag, format!("nothing tells of `{name}`"));
        };
        let has = |layout: &Layout| layout.constants.iter().any(|(constant, _)| constant == by);
        if !has(self.new) {
            let what = format!("`{name}` is told by `{by}`, which is not defined");
            return self.broken(Rule::WithoutFlag, what);
        }
        if has(self.old) {
            return self
                .broken(Rule::OldFlag, format!("`{name}` is told by `{by}`, which was there"));
        }
        Ok(by.clone())
    }

    fn every_byte_has_a_name(&self) -> Result<(), Broken> {
        let Judge { old, new } = self;
        let named = |layout: &Layout, byte| layout.fields.iter().any(|f| f.meets(byte, byte + 1));
        let hole = (0..new.size).find(|byte| {
            let needed = *byte >= old.size || named(old, *byte);
            needed && !named(new, *byte)
        });
        match hole {
            Some(byte) => self.broken(Rule::Hole, format!("byte {byte} is in no field")),
            None => Ok(()),
        }
    }
}
