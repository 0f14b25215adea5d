//! `Debug` without secrets.

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

pub(crate) use debug_only;
