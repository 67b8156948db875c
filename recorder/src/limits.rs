//! `Limits`: what a reader may spend on one file. Each allocation is charged before it is made.

/// Bounds on what reading one file may cost. The defaults take every checkpoint that PyTorch itself can write; a file that
/// asks for more is refused with [`ErrorKind::Limit`](crate::ErrorKind::Limit).
///
/// Tensor bytes are not counted here: they stay in the file until they are asked for, and a tensor can never be larger
/// than the storage it views.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one pickle. Default 1 GiB.
    pub pickle_bytes: u64,
    /// Values made while reading one pickle. Default 50 million.
    pub values: u64,
    /// Bytes held by the values of one pickle (strings, integers, list places), tensors aside. Default 4 GiB.
    pub value_bytes: u64,
    /// How deep containers may nest. Default 1000, as Python's own recursion limit.
    pub depth: usize,
    /// Records of one archive. Default 4 million.
    pub records: u64,
    /// Bytes that a compressed record may inflate to. Default 16 GiB, and never more than 1100 times what is stored.
    pub inflated_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            pickle_bytes: 1 << 30,
            values: 50_000_000,
            value_bytes: 4 << 30,
            depth: 1000,
            records: 4_000_000,
            inflated_bytes: 16 << 30,
        }
    }
}
