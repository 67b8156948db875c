//! `ById`: a map from the identity of a value, which is an address.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Addresses are spread by one multiplication; they are no attacker's choice.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_usize(byte.into()));
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// A map from the identity of a value.
pub(crate) type ById<T> = HashMap<usize, T, BuildHasherDefault<AddressHasher>>;
