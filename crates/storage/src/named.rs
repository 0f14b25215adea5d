//! Enumerations whose variants have names, in columns, settings, addresses and answers.

use std::fmt;

/// Declares an enumeration with a name for each variant, and what follows from the names: `ALL`, `name`, `Display`,
/// `FromStr` and, for columns and settings, `TryFrom<String>`. Names in columns are part of the schema's `CHECK`
/// constraints.
#[macro_export]
macro_rules! named_enum {
    ($(#[$meta:meta])* $visibility:vis enum $type:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $name:expr,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $type { $($(#[$variant_meta])* $variant,)+ }

        impl $type {
            /// Every variant, in the order in which they are declared.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name that is stored and shown.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
                let found = Self::ALL.iter().copied().find(|one| one.name() == name);
                found.ok_or_else(|| $crate::UnknownName::expected(&[$($name,)+]))
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::UnknownName;

            fn try_from(name: String) -> std::result::Result<Self, Self::Error> {
                name.parse()
            }
        }
    };
}

/// A text that names no variant. It says which names there are, and does not repeat the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    names: Vec<&'static str>,
}

impl UnknownName {
    /// None of these.
    pub fn expected(names: &[&'static str]) -> Self {
        Self { names: names.to_vec() }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "use one of {}", self.names.join(", "))
    }
}

impl std::error::Error for UnknownName {}
