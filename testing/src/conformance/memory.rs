//! Many tensors, and large ones.

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::{DType, ErrorKind, Limits, StateDict};

use super::{Suite, counted};

const GIB: u64 = 1 << 30;

impl Suite<'_> {
    pub(super) fn ten_thousand_tensors(&self) {
        let mut state_dict = StateDict::new();
        for i in 0..10_000_u32 {
            // Not in the order of the names.
            let number = i.wrapping_mul(7919) % 10_000;
            state_dict.insert(format!("layer.{number}.weight"), counted(DType::Float32, &[2], number.to_le_bytes()[0]));
        }
        self.round_trip("ten_thousand", &state_dict);
        let path = self.folder.path().join("ten_thousand").join(self.format.file_name());
        let mut limits = Limits::default();
        (limits.values, limits.records) = (1000, 1000);
        let error = self.format.open(&path, &OpenOptions::default().limits(limits)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{}: {error}", self.format.name());
    }

    pub(super) fn a_tensor_of_five_gibibytes_opens_in_little_memory(&self) {
        // On a disk, where a hole takes no memory when it is read.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(self.format.file_name());
        if !self.format.write_sparse(&path, 5 * GIB) {
            return;
        }
        let before = peak_memory_from_now();
        let state_dict = self.open(&path);
        let big = state_dict.get("big").unwrap();
        assert_eq!(big.shape(), [usize::try_from(5 * GIB).unwrap()]);
        assert_eq!(big.storage().unwrap().len(), 5 * GIB);
        assert_eq!(state_dict.get("tail").unwrap().to_vec::<i32>().unwrap(), [7]);
        if let (Some(before), Some(after)) = (before, status("VmHWM:")) {
            let grown = after.saturating_sub(before);
            assert!(grown < GIB / 4, "{}: opening 5 GiB took {grown} bytes", self.format.name());
        }
    }
}

/// Starts to watch the most memory that this process holds, and gives what it holds now. Linux only.
fn peak_memory_from_now() -> Option<u64> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    status("VmRSS:")
}

/// A field of `/proc/self/status`, in bytes.
fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
