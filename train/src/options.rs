//! `options!`: the options of something, said once. One list gives the struct, its defaults, and a setter for each field.

/// A line is a field with its default; behind it, in the form of a closure, what its setter takes and makes of it, where that
/// is not the field's own type.
macro_rules! options {
    (
        $(#[$meta:meta])*
        $name:ident {
            $(
                $(#[$doc:meta])*
                $field:ident: $type:ty = $default:expr $(, |$given:ident: $taken:ty| $set:expr)?;
            )*
        }
    ) => {
        $(#[$meta])*
        #[non_exhaustive]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $name {
            $($crate::options::options!(@setter [$(#[$doc])*] $field: $type $(, |$given: $taken| $set)?);)*
        }
    };
    (@setter [$($doc:tt)*] $field:ident: $type:ty) => {
        $crate::options::options!(@setter [$($doc)*] $field: $type, |$field: $type| $field);
    };
    (@setter [$($doc:tt)*] $field:ident: $type:ty, |$given:ident: $taken:ty| $set:expr) => {
        $($doc)*
        #[must_use]
        pub fn $field(mut self, $given: $taken) -> Self {
            self.$field = $set;
            self
        }
    };
}

pub(crate) use options;
