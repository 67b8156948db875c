//! Reading every byte of 1 GiB, and comparing it with its checksums, beside a copy from memory to memory.

use rayon::prelude::*;
use rekindle::Checkpoint;
use rekindle::recorder::checkpoint::OpenOptions;
use rekindle::recorder::verify::verify;

use super::data::matrices;
use super::{Line, Row, timed, unknown};

const FILE: &str = "read.pt";
const MIB: u64 = 1 << 20;
const SHAPE: [usize; 2] = [2048, 2048];

pub(super) const READ: Row = Row {
    name: "read",
    what: "every byte of 1 GiB is read and compared with its checksums",
    prepare: |setting| {
        Checkpoint::from(matrices(setting.sized(64, 4), SHAPE)?).save(setting.file(FILE))?;
        // Large files are written past the page cache.
        drop(std::fs::read(setting.file(FILE))?);
        Ok(())
    },
    lines: |_| {
        vec![
            Line::new("read 1 GiB (in the page cache), checksums verified", "ours")
                .rust("a copy of it in memory, as many threads", "copy", 1.5)
                .torch("`torch.load`, nothing verified", "load", None)
                .memory(16 * MIB),
        ]
    },
    turns: |variant, setting| {
        let path = setting.file(FILE);
        match variant {
            "ours" => Ok(Box::new(move || {
                timed(|| {
                    let report = verify(&path, &OpenOptions::default(), false)?;
                    if report.is_sound() { Ok(report) } else { Err("it is damaged".into()) }
                })
            })),
            "copy" => {
                let from: Vec<u8> = std::fs::read(path)?;
                let mut to = vec![1_u8; from.len()];
                Ok(Box::new(move || {
                    timed(|| {
                        let parts = from.par_chunks(8 << 20).zip(to.par_chunks_mut(8 << 20));
                        parts.for_each(|(from, to)| to.copy_from_slice(from));
                        Ok(())
                    })
                }))
            }
            _ => unknown(variant),
        }
    },
};
