//! `options!`: the options of an optimizer, said once. One list in PyTorch's order gives what `settings!` does,
//! and the entries of a group.

use rekindle_recorder::Value;

/// Makes the options of an optimizer from what its groups hold, in PyTorch's order. A line is a field with PyTorch's default,
/// or an entry that is no option here but is written as PyTorch does: `"foreach" = Value::None`. What comes behind `=>` makes
/// the entry's value from the field's and all options, where Python spells it otherwise than [`Spell`] does.
macro_rules! options {
    (
        $(#[$doc:meta])*
        $name:ident {
            $(
                $(#[$field_doc:meta])*
                $field:ident: $type:ty = $default:expr $(=> $spell:expr)?;
                $($entry:literal = $value:expr;)*
            )*
        }
    ) => {
        rekindle_recorder::settings! {
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq)]
            pub struct $name { $($(#[$field_doc])* $field: $type = $default,)* }
        }

        impl $name {
            /// A group's entries, in PyTorch's order.
            pub(in crate::optim) fn group(&self) -> $crate::attributes::Attributes {
                let mut group = $crate::attributes::Attributes::default();
                $(
                    group.set(stringify!($field), options!(@spell self, $name, $field, $type $(, $spell)?));
                    $(group.set($entry, $value);)*
                )*
                group
            }
        }
    };
    (@spell $options:ident, $name:ident, $field:ident, $type:ty) => {
        $crate::optim::options::Spell::spell($options.$field)
    };
    (@spell $options:ident, $name:ident, $field:ident, $type:ty, $spell:expr) => {{
        let spell: fn($type, &$name) -> rekindle_recorder::Value = $spell;
        spell($options.$field, $options)
    }};
}

pub(super) use options;

/// What Python has for an option.
pub(super) trait Spell {
    fn spell(self) -> Value;
}

macro_rules! spell {
    ($($type:ty),*) => { $(
        impl Spell for $type {
            fn spell(self) -> Value {
                self.into()
            }
        }
    )* };
}

spell!(bool, u32, f64, Option<f64>);

impl<A: Spell, B: Spell> Spell for (A, B) {
    fn spell(self) -> Value {
        Value::tuple([self.0.spell(), self.1.spell()])
    }
}

impl Spell for (f64, f64, f64) {
    fn spell(self) -> Value {
        Value::tuple([self.0.into(), self.1.into(), self.2.into()])
    }
}

/// PyTorch spells these defaults as the `int` 0.
pub(super) fn zero_or<O>(number: f64, _: &O) -> Value {
    int_or(0, number)
}

/// PyTorch spells this default as an `int`.
pub(super) fn int_or(default: i32, number: f64) -> Value {
    if number == f64::from(default) { default.into() } else { number.into() }
}
