//! Files of tokens, as nanoGPT's `train.bin`: a number after another, mapped into memory, and random blocks of them.

use std::path::Path;

use burn::tensor::TensorData;
use rekindle_random::{Generator, randint};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::{DType, Error, Result, ResultExt as _};

use super::dataset::Batch;
use super::samples::Samples;
use crate::attributes::invalid;

/// A file of tokens without a header, little-endian, as NumPy's `tofile` writes one: nanoGPT's `train.bin`. It is mapped, so that a
/// file of many gigabytes costs no memory.
///
/// As a data set, sample `i` is the block of `block_size` tokens from `i` on, and its targets are those one further; there are
/// `tokens - block_size` of them, those that nanoGPT draws from.
///
/// ```no_run
/// use rekindle_random::Generator;
/// use rekindle_train::data::TokenFile;
///
/// let tokens = TokenFile::open("data/shakespeare/train.bin", 256)?;
/// let mut generator = Generator::new(1337); // torch.manual_seed(1337)
/// let batch = tokens.random_blocks(12, &mut generator)?; // X, Y = get_batch('train')
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenFile {
    bytes: FileBytes,
    dtype: DType,
    block_size: usize,
}

impl TokenFile {
    /// Tokens of `uint16`, in blocks of so many.
    ///
    /// # Errors
    /// When the file cannot be read, is no whole number of tokens, or has no block and a token after it.
    pub fn open(path: impl AsRef<Path>, block_size: usize) -> Result<Self> {
        Self::open_as(path, block_size, DType::UInt16)
    }

    /// As [`open`](Self::open), of tokens of another type of whole numbers, such as `uint32` for vocabularies of more than 65,536.
    ///
    /// # Errors
    /// As [`open`](Self::open), and for a type of other numbers.
    pub fn open_as(path: impl AsRef<Path>, block_size: usize, dtype: DType) -> Result<Self> {
        let path = path.as_ref();
        let bytes = FileBytes::open(path)?;
        let file = TokenFile { bytes, dtype, block_size };
        let check = || {
            if !matches!(dtype, DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::Int32 | DType::Int64) {
                return Err(Error::unsupported(format!("tokens of {dtype}")));
            }
            let length = file.bytes.len();
            if !length.is_multiple_of(dtype.size()) {
                return Err(Error::invalid(format!("{length} bytes are no whole number of tokens of {dtype}")));
            }
            if block_size == 0 || file.tokens() <= block_size {
                let tokens = file.tokens();
                return Err(Error::invalid(format!("{tokens} tokens are no block of {block_size} and one after it")));
            }
            Ok(())
        };
        check().in_file(path)?;
        Ok(file)
    }

    /// How many tokens there are.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// The tokens of a block.
    #[must_use]
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// nanoGPT's `get_batch`: `torch.randint(len(data) - block_size, (batch_size,))` from the generator, and the blocks that begin there.
    /// `inputs` and `targets` are `[batch_size, block_size]`.
    ///
    /// # Errors
    /// Never in fact: there is a block to draw.
    pub fn random_blocks(&self, batch_size: usize, generator: &mut Generator) -> Result<Batch> {
        let starts = i64::try_from(self.len()).map_err(|_| invalid("a file has too many tokens"))?;
        let drawn = randint(generator, 0, starts, batch_size).map_err(|error| invalid(error.to_string()))?;
        let places: Vec<usize> = drawn.into_iter().filter_map(|start| usize::try_from(start).ok()).collect();
        self.blocks(&places)
    }

    fn blocks(&self, places: &[usize]) -> Result<Batch> {
        let of = |shift: usize| {
            let mut all = Vec::with_capacity(places.len() * self.block_size);
            for &place in places {
                let block = place.checked_add(shift).and_then(|start| self.block(start));
                all.extend(block.ok_or_else(|| invalid(format!("there is no block of tokens from {place} on")))?);
            }
            Ok::<_, Error>(TensorData::new(all, [places.len(), self.block_size]))
        };
        Batch::new(places, [("inputs", of(0)?), ("targets", of(1)?)])
    }

    /// The block from this token on.
    fn block(&self, start: usize) -> Option<impl Iterator<Item = i64>> {
        let size = self.dtype.size();
        let end = start.checked_add(self.block_size)?;
        let bytes = self.bytes.get(start.checked_mul(size)?..end.checked_mul(size)?)?;
        let signed = matches!(self.dtype, DType::Int32 | DType::Int64);
        Some(bytes.chunks_exact(size).map(move |token| {
            let fill = if signed && token.last().is_some_and(|&byte| byte > 0x7f) { 0xff } else { 0 };
            let mut wide = [fill; 8];
            wide.iter_mut().zip(token).for_each(|(wide, byte)| *wide = *byte);
            i64::from_le_bytes(wide)
        }))
    }
}

impl Samples for TokenFile {
    fn len(&self) -> usize {
        self.tokens().saturating_sub(self.block_size)
    }

    fn batch(&self, places: &[usize], _: &mut Generator) -> Result<Batch> {
        self.blocks(places)
    }
}

/// Batches of [random blocks](TokenFile::random_blocks), for ever: a loader without epochs for [`Run::with_loader`](crate::Run::with_loader).
/// Its place in the data is the global generator's state, and nothing else.
#[derive(Clone, Debug)]
pub struct RandomBlocks {
    tokens: TokenFile,
    batch_size: usize,
}

impl RandomBlocks {
    /// So many blocks a batch.
    ///
    /// # Errors
    /// When the batch size is 0.
    pub fn new(tokens: TokenFile, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(invalid("a batch must have at least 1 sample"));
        }
        Ok(RandomBlocks { tokens, batch_size })
    }

    /// The file that blocks are drawn from.
    #[must_use]
    pub fn tokens(&self) -> &TokenFile {
        &self.tokens
    }

    /// A batch of the file's first blocks, which no number is drawn for: to try a network with.
    ///
    /// # Errors
    /// When there are not so many blocks.
    pub fn first(&self) -> Result<Batch> {
        self.tokens.blocks(&(0..self.batch_size.min(self.tokens.len())).collect::<Vec<_>>())
    }

    pub(super) fn next_batch(&mut self, global: &mut Generator) -> Result<Option<Batch>> {
        self.tokens.random_blocks(self.batch_size, global).map(Some)
    }
}
