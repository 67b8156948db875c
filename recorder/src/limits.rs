//! `Limits`: what a reader may spend on one file. Each allocation is charged before it is made.

crate::settings! {
    /// Bounds on what reading one file may cost. The defaults take every checkpoint that PyTorch itself can write; a file that
    /// asks for more is refused with [`ErrorKind::Limit`](crate::ErrorKind::Limit).
    ///
    /// Tensor bytes are not counted here: they stay in the file until they are asked for, and a tensor can never be larger
    /// than the storage it views.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Limits {
        /// Bytes of one pickle. Default 1 GiB.
        pickle_bytes: u64 = 1 << 30,
        /// Values made while reading one pickle. Default 50 million.
        values: u64 = 50_000_000,
        /// Bytes held by the values of one pickle (strings, integers, list places), tensors aside. Default 4 GiB.
        value_bytes: u64 = 4 << 30,
        /// How deep containers may nest. Default 1000, as Python's own recursion limit.
        depth: usize = 1000,
        /// Records of one archive. Default 4 million.
        records: u64 = 4_000_000,
        /// Bytes that a compressed record may inflate to. Default 16 GiB, and never more than 1100 times what is stored.
        inflated_bytes: u64 = 16 << 30,
    }
}
