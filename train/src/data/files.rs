//! Data sets in files: a table of comma-separated numbers with the label last (`.csv`, `.csv.gz`), or a checkpoint that holds
//! `inputs` and `targets`, or arrays by the names that a network has for them.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use rekindle_recorder::{Checkpoint, Dict, Error, ResultExt as _};

use super::dataset::{Array, Batch, Dataset};

rekindle_recorder::settings! {
    /// How the numbers of a file become inputs.
    ///
    /// ```
    /// use rekindle_train::data::ReadOptions;
    ///
    /// let images = ReadOptions::default().input_shape([1, 8, 8]).divide_by(16.0);
    /// ```
    #[derive(Clone, Debug, PartialEq)]
    pub struct ReadOptions {
        /// The shape of one sample, such as `[1, 8, 8]`. Default: a table's columns as they are, a tensor's own shape.
        input_shape(impl Into<Vec<usize>> => Some): Option<Vec<usize>> = None,
        /// What inputs are divided by, in single precision. Default: nothing.
        divide_by(f32 => Some): Option<f32> = None,
    }
}

/// Why a data set cannot be read from a file.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The table is not as expected.
    #[error("{}: line {line}: {reason}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A checkpoint cannot be read, or its tensors are no data set.
    #[error(transparent)]
    Checkpoint(#[from] Error),
}

rekindle_recorder::debug_is_display!(DataError);

/// Reads a data set: a table where the file begins as text or gzip does, else a checkpoint with tensors whose first axis counts
/// the samples: `inputs` and `targets`, or by the names that a network has for them. The options are for `inputs`.
///
/// A table holds one sample a line, numbers between commas, without a header; the last column is the class.
///
/// # Errors
/// When the file cannot be read, a line of a table has another number of columns or something else than numbers, or a shape
/// does not fit.
pub fn read_dataset(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Dataset, DataError> {
    let path = path.as_ref();
    if is_table(path)? {
        let (inputs, targets) = read_table(path, options)?;
        return Ok(Dataset::new(inputs, targets).in_file(path)?);
    }
    read_tensors(path, options)
}

/// Batches that were made elsewhere: `inputs` and `targets`, or arrays by the names that a network has for them, with a leading
/// axis of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedBatches {
    steps: Dataset,
}

impl FixedBatches {
    /// Reads a checkpoint's tensors.
    ///
    /// # Errors
    /// When it cannot be read, or they count unlike numbers of steps.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Ok(FixedBatches { steps: read_tensors(path.as_ref(), &ReadOptions::default())? })
    }

    /// How many steps there are batches for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// All of them, a step each.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.steps
    }

    /// The batch of step `i`, from 0: exactly `inputs[i]` and `targets[i]`, and so of others.
    ///
    /// # Errors
    /// When there is none.
    pub fn batch(&self, i: usize) -> Result<Batch, Error> {
        self.steps.batch(&[i])?.without_leading_axis()
    }
}

/// How a gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Whether the file is a table: gzip, or text that begins with a number.
fn is_table(path: &Path) -> Result<bool, DataError> {
    if path.is_dir() {
        return Ok(false);
    }
    let mut start = [0_u8; 2];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    let read = read.map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let text = |byte: &u8| byte.is_ascii_digit() || b"-+. \t,".contains(byte);
    let start = start.get(..read).unwrap_or_default();
    Ok(start == GZIP || (read > 0 && start.iter().all(|byte| text(byte) || b"\r\n".contains(byte))))
}

fn read_table(path: &Path, options: &ReadOptions) -> Result<(Array, Array), DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut magic = [0_u8; 2];
    let read = file.read(&mut magic).map_err(io)?;
    file.rewind().map_err(io)?;
    let file = BufReader::new(file);
    let text: Box<dyn Read> =
        if read == GZIP.len() && magic == GZIP { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };

    let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(text);
    let (mut inputs, mut targets, mut width) = (Vec::new(), Vec::new(), 0);
    let mut row = csv::StringRecord::new();
    let table = |line, reason: String| DataError::Table { path: path.to_owned(), line, reason };
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut row) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => return Err(table(error.position().map_or(line, csv::Position::line), error.to_string())),
        }
        let Some(last) = row.len().checked_sub(1).filter(|&last| last > 0) else {
            return Err(table(line, "a line needs at least one number and a label after it".to_owned()));
        };
        width = last;
        for column in row.iter().take(last) {
            let number: f32 = column.parse().map_err(|_| table(line, format!("'{column}' is no number")))?;
            inputs.push(number);
        }
        let label = row.get(last).unwrap_or_default();
        let class: i64 = label.parse().map_err(|_| table(line, format!("the label '{label}' is no whole number")))?;
        targets.push(class);
    }
    let shape = options.input_shape.clone().unwrap_or_else(|| vec![width]);
    if !targets.is_empty() && shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n)) != Some(width) {
        return Err(table(1, format!("{width} numbers before the label are no input of shape {shape:?}")));
    }
    let samples = targets.len();
    let made = Array::new(samples, &shape, inputs).and_then(|inputs| scaled(inputs, options));
    let made = made.and_then(|inputs| Ok((inputs, Array::new(samples, &[], targets)?)));
    Ok(made.in_file(path)?)
}

fn scaled(inputs: Array, options: &ReadOptions) -> Result<Array, Error> {
    match options.divide_by {
        Some(by) => inputs.divided(by),
        None => Ok(inputs),
    }
}

/// `inputs` and `targets`, and what else counts as many samples; where they are not both there, all tensors that have a first axis.
fn read_tensors(path: &Path, options: &ReadOptions) -> Result<Dataset, DataError> {
    let checkpoint = Checkpoint::open(path)?;
    let read = || -> Result<_, Error> {
        let mut arrays = Vec::new();
        for (key, value) in checkpoint.root().as_dict().map(Dict::entries).unwrap_or_default() {
            let (Some(name), Some(tensor)) = (key.as_str(), value.as_tensor()) else { continue };
            if tensor.shape().is_empty() {
                continue;
            }
            let array = Array::from_tensor(tensor).map_err(|error| Error::invalid(format!("'{name}': {error}")))?;
            let array = match name {
                "inputs" => scaled(array.reshaped(options.input_shape.as_deref())?, options)?,
                _ => array,
            };
            arrays.push((name.to_owned(), array));
        }
        let count = |name: &str| arrays.iter().find(|(known, _)| known == name).map(|(_, array)| array.len());
        if let (Some(inputs), Some(targets)) = (count("inputs"), count("targets"))
            && inputs == targets
        {
            arrays.retain(|(_, array)| array.len() == inputs);
        }
        if arrays.is_empty() {
            return Err(Error::invalid(
                "it holds no tensors `inputs` and `targets`, nor others with an axis of samples",
            ));
        }
        Dataset::named(arrays)
    };
    Ok(read().in_file(path)?)
}
