//! Implementations that are alike for many types, a line each.

/// `From` of the types of which another is made without a question: `from! { Number: i64: x => Number::Int(x); }`.
#[doc(hidden)]
#[macro_export]
macro_rules! from {
    ($made:ty: $( $(#[$doc:meta])* $of:ty: $x:pat => $value:expr; )+) => { $(
        $(#[$doc])*
        impl From<$of> for $made {
            fn from($x: $of) -> Self {
                $value
            }
        }
    )+ };
}

/// `Debug` of errors: the sentence, which `main` prints of an error that it returns.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_is_display {
    ($($error:ty),+) => { $(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+ };
}

/// `Display` of what has a name.
#[doc(hidden)]
#[macro_export]
macro_rules! display_is_name {
    ($($named:ty),+) => { $(
        impl std::fmt::Display for $named {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    )+ };
}
