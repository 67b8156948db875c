//! `settings!`: a struct of options, each said once.

/// A struct of options: each with a default, and with a setter of its name and documentation. In parentheses stands what the
/// setter takes where that is not the field's type, and after `=>` what it is wrapped in, or after `;` what makes the field of it.
#[doc(hidden)]
#[macro_export]
macro_rules! settings {
    (
        $(#[$about:meta])*
        pub struct $name:ident { $( $(#[$doc:meta])* $option:ident $(($($arg:tt)*))?: $type:ty = $default:expr, )* }
    ) => {
        $(#[$about])*
        #[non_exhaustive]
        pub struct $name {
            $( $(#[$doc])* pub $option: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($option: $default,)* }
            }
        }

        impl $name {
            $( $crate::settings! { @setter $(#[$doc])* $option [$($($arg)*)?] $type } )*
        }
    };
    (@setter $(#[$doc:meta])* $option:ident [] $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $option(self, $option: $type) -> Self {
            Self { $option, ..self }
        }
    };
    (@setter $(#[$doc:meta])* $option:ident [$arg:ty; $make:path] $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $option(self, $option: $arg) -> Self {
            Self { $option: $make($option), ..self }
        }
    };
    (@setter $(#[$doc:meta])* $option:ident [$arg:ty $(=> $wrap:path)?] $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $option(self, $option: $arg) -> Self {
            Self { $option: $($wrap)?($option.into()), ..self }
        }
    };
}
