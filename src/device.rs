//! Devices by name: `cpu`, `cuda:0`, `vulkan`, `wgpu:1`, `metal`. A device is always named; none is chosen by what the
//! binary happens to be built with.

use burn::tensor::Device;

/// Why a device's name leads nowhere.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No such kind of device.
    #[error("'{0}' is no device; the devices are cpu, cuda[:N], vulkan[:N], wgpu[:N] and metal")]
    Unknown(String),
    /// The binary cannot use this kind.
    #[error("'{name}' needs a binary built with `--features {feature}`; this one was built without it")]
    NotBuilt {
        /// The name asked for.
        name: String,
        /// The feature to build with.
        feature: &'static str,
    },
    /// There is no such device in this machine.
    #[error("there is no '{name}' here; `rekindle devices` lists what can compute")]
    Absent {
        /// The name asked for.
        name: String,
    },
}

rekindle_recorder::debug_is_display!(DeviceError);

/// Lists the devices of one kind, best first.
type Enumerate = fn() -> Vec<Device>;

/// Every kind of device: its name, the feature that builds it, and how to list it (`None`: not built).
const KINDS: &[(&str, &str, Option<Enumerate>)] = &[
    ("cpu", "", Some(|| vec![Device::flex()])),
    ("cuda", "cuda", cuda()),
    ("vulkan", "vulkan", vulkan()),
    ("wgpu", "wgpu", wgpu()),
    ("metal", "metal", metal()),
];

macro_rules! kind {
    ($name:ident, $feature:literal, $variant:ident) => {
        const fn $name() -> Option<Enumerate> {
            #[cfg(feature = $feature)]
            return Some(|| Device::enumerate(burn::tensor::DeviceType::$variant).into_vec());
            #[cfg(not(feature = $feature))]
            None
        }
    };
}

kind!(cuda, "cuda", Cuda);
kind!(vulkan, "vulkan", Vulkan);
kind!(wgpu, "wgpu", Wgpu);
kind!(metal, "metal", Metal);

/// The device of this name: a kind, and after a colon which one of them (the first where none is given).
///
/// # Errors
/// When there is no such kind, the binary was built without it, or the machine has no such device.
///
/// ```
/// assert!(rekindle::device("cpu").is_ok());
/// assert!(rekindle::device("abacus").is_err());
/// ```
pub fn device(name: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown(name.to_owned());
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, index.parse::<usize>().map_err(|_| unknown())?),
        None => (name, 0),
    };
    let &(_, feature, enumerate) = KINDS.iter().find(|(known, ..)| *known == kind).ok_or_else(unknown)?;
    let enumerate = enumerate.ok_or_else(|| DeviceError::NotBuilt { name: name.to_owned(), feature })?;
    // A driver that is not there makes some backends panic instead of listing nothing.
    let found = quietly(enumerate).unwrap_or_default();
    found.into_iter().nth(index).ok_or_else(|| DeviceError::Absent { name: name.to_owned() })
}

/// The names of all devices that can compute here, with this binary.
#[must_use]
pub fn devices() -> Vec<String> {
    let mut names = Vec::new();
    for (kind, _, enumerate) in KINDS {
        let count = enumerate.and_then(quietly).map_or(0, |devices| devices.len());
        if *kind == "cpu" {
            names.push("cpu".to_owned());
        } else {
            names.extend((0..count).map(|i| format!("{kind}:{i}")));
        }
    }
    names
}

/// Runs a backend's listing without letting its panic through or printing one.
fn quietly(enumerate: Enumerate) -> Option<Vec<Device>> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = std::panic::catch_unwind(enumerate);
    std::panic::set_hook(hook);
    found.ok()
}
