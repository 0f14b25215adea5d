//! Two small things that text in a database needs: enumerations stored as words, and `Debug` without secrets.

/// Declares an enumeration that is stored as text. The words are part of the schema's `CHECK` constraints.
macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// The word it is stored and shown as.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::Error;

            fn try_from(word: String) -> $crate::Result<Self> {
                match word.as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::Error::inconsistent(format!("{word:?} is no {}", stringify!($name)))),
                }
            }
        }
    };
}

/// `Debug` with only the fields named: what is sealed or hashed stays out of every log.
macro_rules! debug_only {
    ($type:ty { $($field:ident),+ }) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.debug_struct(stringify!($type))$(.field(stringify!($field), &self.$field))+.finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use {debug_only, text_enum};
