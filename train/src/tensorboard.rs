//! TensorBoard's event files: scalars, written and read. A file is a row of records, each with masked CRC-32C checksums of its length
//! and of its bytes (TensorFlow's `TFRecord`); a record is an `Event` in protocol buffers' encoding.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the first event of a file says.
const VERSION: &[u8] = b"brain.Event:2";

/// Writes scalars for TensorBoard, as `torch.utils.tensorboard.SummaryWriter` does.
///
/// ```
/// use rekindle_train::tensorboard::{EventWriter, read_events};
///
/// let folder = tempfile::tempdir()?;
/// let mut events = EventWriter::create(folder.path())?; // SummaryWriter(folder)
/// events.scalar("loss", 0.25, 1)?; // writer.add_scalar("loss", 0.25, 1)
/// events.flush()?;
/// assert_eq!(read_events(events.path())?[0].value, 0.25);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Begins a file of its own in this folder, which is made if it is not there. A run that goes on begins another one: TensorBoard joins
    /// the files of a folder.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn create(folder: impl AsRef<Path>) -> io::Result<Self> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder)?;
        let now = since_1970();
        let seconds = now.floor();
        // Names sort by time, and no two files have the same.
        for number in 0_u32.. {
            let process = std::process::id();
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.rekindle.{process}.{number}"));
            match File::create_new(&path) {
                Ok(file) => {
                    let mut writer = EventWriter { path, file: BufWriter::new(file) };
                    let mut event = Vec::new();
                    double(&mut event, 1, now);
                    bytes(&mut event, 3, VERSION);
                    writer.record(&event)?;
                    writer.flush()?;
                    return Ok(writer);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// `add_scalar(tag, value, step)`: a number of a curve, in single precision as TensorBoard has it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, tag: &str, value: f64, step: u64) -> io::Result<()> {
        self.scalar_at(tag, value, step, since_1970())
    }

    /// As [`scalar`](Self::scalar), at a time in seconds since 1970.
    ///
    /// # Errors
    /// As there.
    pub fn scalar_at(&mut self, tag: &str, value: f64, step: u64, time: f64) -> io::Result<()> {
        let mut scalar = Vec::new();
        bytes(&mut scalar, 1, tag.as_bytes());
        #[allow(clippy::cast_possible_truncation)] // as there
        key(&mut scalar, 2, 5).extend((value as f32).to_le_bytes());
        let mut summary = Vec::new();
        bytes(&mut summary, 1, &scalar);
        let mut event = Vec::new();
        double(&mut event, 1, time);
        // A number that is 0 is left out, as everywhere in this encoding.
        if step > 0 {
            varint(key(&mut event, 2, 0), step);
        }
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    /// Hands all that was written to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn record(&mut self, event: &[u8]) -> io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&masked(&length).to_le_bytes())?;
        self.file.write_all(event)?;
        self.file.write_all(&masked(event).to_le_bytes())
    }
}

/// A number of a curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// Which curve.
    pub tag: String,
    /// The step, from 0.
    pub step: u64,
    /// When it was written, in seconds since 1970.
    pub time: f64,
    /// The number, which was written in single precision.
    pub value: f64,
}

/// Why events cannot be read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// The file is no event file, or damaged.
    #[error("{}: record {record}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The record's number, from 0.
        record: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

rekindle_recorder::debug_is_display!(EventError);

/// The longest record that is read: more than any event of scalars has.
const LONGEST: u64 = 1 << 28;

/// Reads the scalars of an event file, in its order: those of `SummaryWriter` and of TensorFlow 2. A last record that is not whole, as a
/// writer that goes on leaves it, ends the file.
///
/// # Errors
/// When the file cannot be read, a checksum is wrong, or a record is no event.
pub fn read_events(path: impl AsRef<Path>) -> Result<Vec<Scalar>, EventError> {
    let path = path.as_ref();
    let io = |source| EventError::Io { path: path.to_owned(), source };
    let file = fs::read(path).map_err(io)?;
    let (mut rest, mut scalars) = (&file[..], Vec::new());
    for record in 0.. {
        let wrong = |reason| EventError::Damaged { path: path.to_owned(), record, reason };
        let Some((head, after)) = rest.split_first_chunk::<12>() else {
            return if record == 0 { Err(wrong("the file is no event file")) } else { Ok(scalars) };
        };
        let (length, check) = head.split_at(8);
        if masked(length).to_le_bytes() != check {
            let what = if record == 0 { "the file is no event file" } else { "the checksum of its length is wrong" };
            return Err(wrong(what));
        }
        let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
        if length > LONGEST {
            return Err(wrong("it is longer than events are"));
        }
        let length = usize::try_from(length).map_err(|_| wrong("it is longer than events are"))?;
        let Some((event, after)) = after.split_at_checked(length) else { return Ok(scalars) };
        let Some((check, after)) = after.split_first_chunk::<4>() else { return Ok(scalars) };
        if masked(event).to_le_bytes() != *check {
            return Err(wrong("its checksum is wrong"));
        }
        read_event(event, &mut scalars).ok_or_else(|| wrong("it is no event"))?;
        rest = after;
    }
    Ok(scalars)
}

/// The scalars of an event; `None` where it is none.
fn read_event(event: &[u8], scalars: &mut Vec<Scalar>) -> Option<()> {
    let (mut time, mut step, mut summaries) = (0.0, 0, Vec::new());
    for field in fields(event) {
        match field? {
            (1, Field::Eight(value)) => time = f64::from_le_bytes(value),
            (2, Field::Varint(value)) => step = value,
            (5, Field::Bytes(summary)) => summaries.push(summary),
            _ => {}
        }
    }
    for value in summaries.iter().flat_map(|summary| fields(summary)) {
        let (1, Field::Bytes(value)) = value? else { continue };
        let (mut tag, mut number) = (String::new(), None);
        for field in fields(value) {
            match field? {
                (1, Field::Bytes(name)) => tag = String::from_utf8_lossy(name).into_owned(),
                (2, Field::Four(value)) => number = Some(f64::from(f32::from_le_bytes(value))),
                (8, Field::Bytes(tensor)) => number = number.or(single(tensor)?),
                _ => {}
            }
        }
        scalars.extend(number.map(|value| Scalar { tag, step, time, value }));
    }
    Some(())
}

/// The number in a tensor of one `float32`, as TensorFlow 2 writes scalars; of other tensors there is none.
fn single(tensor: &[u8]) -> Option<Option<f64>> {
    let (mut dtype, mut content, mut listed) = (0, None, None);
    for field in fields(tensor) {
        match field? {
            (1, Field::Varint(value)) => dtype = value,
            (4, Field::Bytes(bytes)) => content = <[u8; 4]>::try_from(bytes).ok(),
            (5, Field::Bytes(bytes)) => listed = <[u8; 4]>::try_from(bytes).ok(),
            (5, Field::Four(value)) => listed = Some(value),
            _ => {}
        }
    }
    Some(content.or(listed).filter(|_| dtype == 1).map(|bytes| f64::from(f32::from_le_bytes(bytes))))
}

// Protocol buffers -------------------------------------------------------------------------------------------------------

/// What a field holds.
enum Field<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// The fields of a message with their numbers; `None`, and no more after it, where it is none.
fn fields(message: &[u8]) -> impl Iterator<Item = Option<(u64, Field<'_>)>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = read_varint(rest)?;
    let field = match key & 7 {
        0 => Field::Varint(read_varint(rest)?),
        1 => Field::Eight(*split(rest)?),
        2 => {
            let length = usize::try_from(read_varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Field::Bytes(bytes)
        }
        5 => Field::Four(*split(rest)?),
        _ => return None,
    };
    Some((key >> 3, field))
}

fn split<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(first)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.extend(value.to_le_bytes().first().map(|byte| byte | 0x80));
        value >>= 7;
    }
    out.extend(value.to_le_bytes().first());
}

/// A field's number and kind.
fn key(out: &mut Vec<u8>, number: u64, kind: u64) -> &mut Vec<u8> {
    varint(out, number << 3 | kind);
    out
}

fn double(out: &mut Vec<u8>, number: u64, value: f64) {
    key(out, number, 1).extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    varint(key(out, number, 2), value.len() as u64);
    out.extend(value);
}

// Checksums --------------------------------------------------------------------------------------------------------------

/// CRC-32C (Castagnoli), byte by byte.
const TABLE: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let (mut crc, mut bit) = (byte, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(!0, step)
}

/// As `TFRecord` has checksums, so that a checksum of bytes with checksums in them is no trouble.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnoli_s() {
        // The check value of CRC-32C, and that of RFC 3720 of 32 bytes of zeros.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
