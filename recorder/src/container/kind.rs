//! `Container`: the formats of checkpoints, by name; `Opened`: a checkpoint as it was read from one.

use std::fmt;
use std::str::FromStr;

use crate::value::Global;
use crate::{Error, Result, Value};

/// A format of checkpoints. `Display` gives its name (`zip`, `burn-record`), `FromStr` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// What `torch.save` writes since PyTorch 1.6.
    Zip,
    /// The stream of pickles that `torch.save` wrote before 1.6, and still writes with
    /// `_use_new_zipfile_serialization=False`.
    Legacy,
    /// The tar archive of PyTorch 0.1.
    Tar,
    /// What `torch.jit.save` writes.
    TorchScript,
    /// What `torch.export.save` writes (`.pt2`).
    Pt2,
    /// A folder of `torch.distributed.checkpoint`.
    Dcp,
    /// Shards with an index, as Hugging Face publishes large models.
    Hf,
    /// A `.safetensors` file.
    Safetensors,
    /// A `.bpk` file of Burn 0.20 and later.
    Burnpack,
    /// A record of Burn up to 0.21 (`.mpk`, `.json`, `.bin`).
    BurnRecord,
    /// NumPy's `.npy` and `.npz`.
    Numpy,
    /// A pickle by itself.
    Pickle,
    /// What `torch.package` writes.
    Package,
}

impl Container {
    /// All formats with their names.
    pub const NAMES: [(Container, &'static str); 13] = [
        (Container::Zip, "zip"),
        (Container::Legacy, "legacy"),
        (Container::Tar, "tar"),
        (Container::TorchScript, "torchscript"),
        (Container::Pt2, "pt2"),
        (Container::Dcp, "dcp"),
        (Container::Hf, "hf"),
        (Container::Safetensors, "safetensors"),
        (Container::Burnpack, "burnpack"),
        (Container::BurnRecord, "burn-record"),
        (Container::Numpy, "numpy"),
        (Container::Pickle, "pickle"),
        (Container::Package, "package"),
    ];

    /// Whether its files hold code beside the weights.
    pub(crate) fn holds_programs(self) -> bool {
        matches!(self, Container::TorchScript | Container::Pt2 | Container::Package)
    }

    /// Its name, such as `zip`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Container {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(container, _)| *container).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(_, name)| *name).collect();
            Error::invalid(format!("'{name}' is no checkpoint format; one of {} is expected", names.join(", ")))
        })
    }
}

/// A checkpoint as it was read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The format it was in.
    pub container: Container,
    /// What it holds.
    pub value: Value,
    /// Every class or function that its pickles name, each once, as first seen.
    pub globals: Vec<Global>,
    /// Its size: of the file, or of all files of the folder.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_formats_and_back() {
        for (container, name) in Container::NAMES {
            assert_eq!(container.name(), name);
            assert_eq!(name.parse::<Container>().unwrap(), container);
        }
        assert!("zap".parse::<Container>().unwrap_err().to_string().contains("zip, legacy"));
    }
}
