//! Opening: what is in a checkpoint of 10 GB, and in one of 20,000 tensors.

use burn_store::{ModuleStore as _, PytorchStore};
use rekindle::{Checkpoint, StateDict, Tensor};

use super::data::{numbers, sparse};
use super::{Line, Result, Row, Turn, timed, unknown};
use crate::setting::Setting;

const LARGE: &str = "large.pt";
const SMALL: &str = "small.pt";

pub(super) const OPEN: Row = Row {
    name: "open",
    what: "a checkpoint of 10 GB is opened and its tensors are listed",
    prepare: |setting| sparse(&setting.file(LARGE), setting.sized(320, 8), [4096, 2048]),
    lines: |_| {
        vec![Line::new("open and list 10 GB (320 tensors in a sparse file: no byte of them is read)", "ours").torch(
            "`torch.load(mmap=True)`",
            "mmap",
            1.0 / 20.0,
        )]
    },
    turns: |variant, setting| turns(variant, setting, LARGE),
};

pub(super) const MANY: Row = Row {
    name: "many",
    what: "a checkpoint of 20,000 small tensors is opened and they are listed",
    prepare: |setting| {
        let mut state_dict = StateDict::new();
        for at in 0..setting.sized(20_000, 200) {
            state_dict.insert(format!("layers.{at}.weight"), Tensor::from_vec(&[16, 16], numbers(256, at))?);
        }
        Checkpoint::from(state_dict).save(setting.file(SMALL))?;
        Ok(())
    },
    lines: |_| {
        vec![
            Line::new("open and list 20,000 tensors of 16 x 16", "ours")
                .rust("burn-store's `PytorchStore`", "burn-store", 0.5)
                .torch("`torch.load(mmap=True)`", "mmap", None),
        ]
    },
    turns: |variant, setting| turns(variant, setting, SMALL),
};

fn turns(variant: &str, setting: &Setting, file: &str) -> Result<Turn> {
    let path = setting.file(file);
    match variant {
        "ours" => Ok(Box::new(move || {
            timed(|| {
                let checkpoint = Checkpoint::open(&path)?;
                Ok((checkpoint.tensors()?, checkpoint))
            })
        })),
        "burn-store" => Ok(Box::new(move || {
            timed(|| {
                let mut store = PytorchStore::from_file(&path);
                store.get_all_tensors().map_err(|error| error.to_string())?;
                Ok(store)
            })
        })),
        _ => unknown(variant),
    }
}
