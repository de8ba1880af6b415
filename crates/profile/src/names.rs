//! Names: enums whose variants have one in files, and files that are shipped by theirs.

use crate::text::nearest;

/// An enum whose variants have names in files. What they are stands there.
macro_rules! named {
    ($(#[$about:meta])* $type:ident: $($(#[$says:meta])* $variant:ident = $name:literal,)+) => {
        $(#[$about])*
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $($(#[$says])* $variant,)+
        }

        impl $type {
            /// Every one, in this order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in files.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

/// The files of a folder below `profiles/`, as `FILES`.
macro_rules! shipped {
    ($folder:literal: $($name:literal)+) => {
        const FILES: &[$crate::text::Source<'static>] = &[$($crate::text::Source {
            name: concat!("profiles/", $folder, "/", $name, ".toml"),
            text: include_str!(concat!("../../../profiles/", $folder, "/", $name, ".toml")),
        }),+];
    };
}

pub(crate) use {named, shipped};

/// What to do about a name that nothing shipped has.
pub(crate) fn instead_of<'k>(name: &str, shipped: impl Iterator<Item = &'k str>) -> String {
    let shipped: Vec<_> = shipped.collect();
    match nearest(name, shipped.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => {
            let known = shipped.join(", ");
            format!("known: {known}; a file is named by a path with a slash or .toml")
        }
    }
}
