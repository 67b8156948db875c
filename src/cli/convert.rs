//! `rekindle convert`: a checkpoint written again.

use std::path::PathBuf;

use rekindle::recorder::ResultExt as _;
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::recorder::container::Format;
use rekindle::recorder::container::hf::parse_size;
use rekindle::recorder::convert::Conversion;
use rekindle::recorder::keys::LoadOptions;

use super::answer::{Answer, note, tell, usage};
use super::input::{Opening, is_stream};
use super::source::here;

/// The arguments of `rekindle convert`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rekindle convert run.pt weights.pt --key model_state_dict --strip-prefix module.")]
pub(super) struct Convert {
    /// The checkpoint to read; - is standard input
    input: PathBuf,
    /// The file to write; - is standard output
    output: PathBuf,
    /// The format to write: zip, legacy, safetensors, hf, dcp, burnpack, numpy; by default what OUT's extension says
    #[arg(long, value_name = "FORMAT")]
    to: Option<String>,
    /// Put the weights into a copy of this archive of TorchScript's or `torch.export`'s; everything else in it stays
    #[arg(long, value_name = "ARCHIVE", conflicts_with = "to")]
    template: Option<PathBuf>,
    /// Take only the part at this path, such as `model_state_dict`
    #[arg(long, value_name = "PATH")]
    key: Option<String>,
    /// Take this prefix off the keys that have it, of the part taken or else of the models in the checkpoint
    #[arg(long, value_name = "P")]
    strip_prefix: Vec<String>,
    /// Replace what the regular expression RE finds in a key, in order, once prefixes are off
    #[arg(long, value_name = "RE=WITH")]
    rename: Vec<String>,
    /// Keep only keys that match one of these globs, as the file spells them
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave out keys that match one of these globs, as the file spells them
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Cast the floating-point tensors of the state dict: float64, float32, float16, bfloat16
    #[arg(long, value_name = "D")]
    dtype: Option<String>,
    /// Write this device tag on every tensor, such as cpu or cuda:0
    #[arg(long, value_name = "L")]
    map_location: Option<String>,
    /// How much one file of the format hf may hold: 5GB, 500MB, 1GiB or a number of bytes; 5GB by default
    #[arg(long, value_name = "N")]
    max_shard_size: Option<String>,
    /// Replace OUT if it exists
    #[arg(long)]
    overwrite: bool,
    /// Write objects that plain `torch.load` refuses to open, too
    #[arg(long)]
    allow_objects: bool,
    /// Write what plain `torch.load` opens, and leave out the rest, each thing named
    #[arg(long, conflicts_with = "allow_objects")]
    weights_only: bool,
    #[command(flatten)]
    opening: Opening,
}

impl Convert {
    pub(super) fn run(&self) -> Answer {
        if self.output.is_file() && !self.overwrite {
            return Err(usage(format!(
                "{}: the file exists already; pass --overwrite to replace it",
                self.output.display()
            )));
        }
        let mut save = SaveOptions::default().overwrite(self.overwrite).allow_objects(self.allow_objects);
        save.weights_only = self.weights_only;
        save.format = self.to.as_deref().map(str::parse::<Format>).transpose()?;
        save.template.clone_from(&self.template);
        save.max_shard_size = self.max_shard_size.as_deref().map(parse_size).transpose()?;
        let input = self.opening.open(&here(&self.input)?)?;
        let conversion = Conversion::default()
            .key(self.key.clone())
            .location(self.map_location.clone())
            .keys(self.keys()?)
            .dtype(self.dtype.as_deref().map(str::parse).transpose()?);
        let report = if is_stream(&self.output) {
            conversion.write_to(&input, std::io::stdout().lock(), &save).in_file("standard output")?
        } else {
            conversion.save(&input, &self.output, &save)?
        };
        report.notes.iter().for_each(|said| note(said));
        tell(&format!("{}: {} bytes", self.output.display(), report.bytes));
        Ok(true)
    }

    /// How the keys are mapped; `None` where they stay.
    fn keys(&self) -> Result<Option<LoadOptions>, Box<dyn std::error::Error>> {
        let untouched =
            [&self.strip_prefix, &self.rename, &self.include, &self.exclude].iter().all(|list| list.is_empty());
        if untouched {
            return Ok(None);
        }
        // What is chosen is chosen by the names in the file; then they change.
        let mut keys = LoadOptions::lenient();
        for glob in &self.include {
            keys = keys.include(glob);
        }
        for glob in &self.exclude {
            keys = keys.exclude(glob);
        }
        for prefix in &self.strip_prefix {
            keys = keys.strip_prefix(prefix);
        }
        for rename in &self.rename {
            let Some((pattern, with)) = rename.split_once('=') else {
                return Err(usage(format!("--rename {rename}: RE=WITH is expected, such as '^encoder=backbone'")));
            };
            keys = keys.rename(pattern, with);
        }
        Ok(Some(keys))
    }
}
