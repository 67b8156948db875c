//! Files that are cut off, changed or empty: reading them is an error or gives tensors, and never anything else.

use std::path::Path;

use bytes::Bytes;
use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::{DType, StateDict};

use super::{Suite, counted, files};

impl Suite<'_> {
    pub(super) fn damaged_files_are_errors(&self) {
        let path = self.path("damaged");
        let mut state_dict = StateDict::new();
        state_dict.insert("weight", counted(DType::Float32, &[3, 4], 5));
        state_dict.insert("bias", counted(DType::Int64, &[2], 5));
        self.save(&state_dict.to_value(), &path);
        let expected = self.read_all(&path).unwrap();
        assert_eq!(expected.len(), 2);
        for file in files(&path) {
            let whole = std::fs::read(&file).unwrap();
            for len in 0..whole.len() {
                std::fs::write(&file, &whole[..len]).unwrap();
                // Text may end with a line break that nobody misses.
                let lost = self.read_all(&path).is_ok_and(|tensors| tensors != expected);
                assert!(!lost, "{}: cut off at byte {len}, and it opens", self.format.name());
            }
            let mut changed = whole.clone();
            for at in 0..whole.len() {
                for flip in [0x01, 0x20, 0x80, 0xff] {
                    changed[at] = whole[at] ^ flip;
                    std::fs::write(&file, &changed).unwrap();
                    // Whether it is found depends on the container's checksums. It must not panic.
                    let _ = self.read_all(&path);
                }
                changed[at] = whole[at];
            }
            std::fs::write(&file, [whole.as_slice(), b"more"].concat()).unwrap();
            let _ = self.read_all(&path);
            std::fs::remove_file(&file).unwrap();
            assert!(self.read_all(&path).is_err(), "{}: without {} it opens", self.format.name(), file.display());
            std::fs::write(&file, whole).unwrap();
        }
        assert_eq!(self.read_all(&path).unwrap(), expected);
    }

    /// Opens a checkpoint and reads every tensor's elements.
    fn read_all(&self, path: &Path) -> rekindle_recorder::Result<Vec<(String, Bytes)>> {
        let value = self.format.open(path, &OpenOptions::default())?;
        let state_dict = StateDict::from_value(&value)?;
        state_dict.iter().map(|(name, tensor)| Ok((name.to_owned(), tensor.to_le_bytes()?))).collect()
    }
}
