//! Saving 1 GiB: with checksums, whole or not at all, and synced. PyTorch computes checksums, and does neither of the others.

use rekindle::Checkpoint;

use super::data::matrices;
use super::{Line, Row, nothing, timed, unknown};

const FILE: &str = "saved.pt";
const MIB: u64 = 1 << 20;

pub(super) const SAVE: Row = Row {
    name: "save",
    what: "1 GiB is saved, to memory and to a disk",
    prepare: nothing,
    lines: |setting| {
        let disk = Line::new("save 1 GiB to a disk, atomic and synced", "disk")
            .torch("`torch.save` + `fsync`", "disk fsync", 1.0)
            .torch("`torch.save`", "disk", None)
            .rounds(7)
            .memory(64 * MIB);
        let memory = Line::new("save 1 GiB to tmpfs, atomic and synced", "memory")
            .torch("`torch.save`, neither", "memory", 1.0 / 1.3)
            .rounds(9)
            .memory(64 * MIB);
        // Where the system has no file system in memory there is nothing to tell.
        if setting.memory.is_some() { vec![memory, disk] } else { vec![disk] }
    },
    turns: |variant, setting| {
        let folder = match variant {
            "disk" => Some(&setting.disk),
            "memory" => setting.memory.as_ref(),
            _ => return unknown(variant),
        };
        let path = folder.ok_or("there is no file system in memory")?.join(FILE);
        let model = matrices(setting.sized(64, 4), [2048, 2048])?;
        Ok(Box::new(move || timed(|| Ok(Checkpoint::from(model.clone()).save(&path)?))))
    },
};
