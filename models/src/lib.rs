//! Networks on Burn with PyTorch's names and numbers.
//!
//! * [`nn`]: `torch.nn` as Burn modules; [`nn::functional`] is `torch.nn.functional` on typed tensors.
//! * [`zoo`]: whole networks. Fields are named and ordered as PyTorch registers them, so that a state dict fits as it is.
//! * [`init`]: `torch.nn.init`, and first weights as PyTorch draws them, bit for bit from the same generator.
//! * [`Network`]: any network of the zoo, by its name.
//! * `image` (feature `image`): pictures as torchvision prepares them. [`Labels`], [`top_k`], [`top_k_labels`]: what a classifier says.
//!
//! ```
//! use burn::tensor::Device;
//! use rekindle_models::{Batch, Config, Network};
//! use rekindle_burn::ModuleStateDict;
//!
//! let device = Device::flex();
//! let mlp = Network::build("mlp", &Config::new().with("sizes", "20,32,10"), &device)?;
//! assert_eq!(mlp.state_dict()?.keys().next(), Some("0.weight"));
//! let output = mlp.forward(Batch::from_vec(vec![0.5; 40], &[2, 20], &device)?)?.into_2d()?;
//! assert_eq!(output.dims(), [2, 10]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod cast;
mod error;
pub mod functional;
pub mod graph;
#[cfg(feature = "image")]
pub mod image;
pub mod init;
mod labels;
pub mod nn;
mod registry;
pub mod zoo;

pub use batch::{Batch, Inputs, Outputs};
pub use cast::to_dtype;
pub use error::{ModelError, Result};
pub use labels::{Labels, top_k, top_k_labels};
pub use registry::{Config, Network, Problem, Says, Setting, Told, Weights};
