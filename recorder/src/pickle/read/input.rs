//! `Input`: the bytes of a pickle and the place reached in them. Nothing is taken that is not there, so a length in the
//! stream can never ask for more than the stream holds.

use num_bigint::{BigInt, Sign};

use crate::pickle::opcodes::Argument;
use crate::{Error, ErrorKind, Result, Value};

/// The decimal digits that a textual integer may have: reading them takes time that grows with their square.
const MAX_DIGITS: usize = 16_384;

pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    /// Where the next byte is.
    pos: usize,
    /// Where the opcode is that is being carried out.
    op_at: usize,
    /// Where the frame ends that the place is in, or was in last.
    frame_end: usize,
    place: &'a str,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8], place: &'a str) -> Self {
        Input { bytes, pos: 0, op_at: 0, frame_end: 0, place }
    }

    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    pub(crate) fn op_at(&self) -> usize {
        self.op_at
    }

    /// The opcode that is being carried out.
    pub(crate) fn opcode_at(&self) -> u8 {
        self.bytes.get(self.op_at).copied().unwrap_or_default()
    }

    /// The next opcode. Where one begins inside a frame, its first byte is in it, too.
    #[inline]
    pub(crate) fn opcode(&mut self) -> Result<u8> {
        let Some(&opcode) = self.bytes.get(self.pos) else { return Err(self.truncated("an opcode")) };
        self.op_at = self.pos;
        self.pos += 1;
        Ok(opcode)
    }

    /// An error at the opcode that is being carried out.
    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::new(ErrorKind::Pickle { offset: self.op_at as u64, reason: reason.into() }).at(self.place)
    }

    #[cold]
    fn truncated(&self, what: &str) -> Error {
        Error::truncated(format!("{} ends at byte {} in the middle of {what}", self.place, self.bytes.len()))
    }

    /// As many bytes as `count` says.
    pub(crate) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let taken = usize::try_from(count).ok().and_then(|count| rest.get(..count));
        let Some(taken) = taken else { return Err(self.truncated(what)) };
        self.advance(taken.len())?;
        Ok(taken)
    }

    /// Goes on by `count` bytes. An opcode must not lie across the end of a frame: there Python's own readers disagree.
    #[inline]
    fn advance(&mut self, count: usize) -> Result<()> {
        let end = self.pos + count;
        if self.op_at < self.frame_end && end > self.frame_end {
            return Err(self.error("an opcode leads out of its frame"));
        }
        self.pos = end;
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let taken = self.take(N as u64, what)?;
        taken.try_into().map_err(|_| self.truncated(what))
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array("an integer")?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array("an integer")?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array("an integer")?))
    }

    pub(crate) fn f64_be(&mut self) -> Result<f64> {
        Ok(f64::from_be_bytes(self.array("a float")?))
    }

    /// The length of a frame, all of which must be there.
    pub(crate) fn frame(&mut self) -> Result<()> {
        if self.op_at < self.frame_end {
            return Err(self.error("a frame begins within another"));
        }
        let length = u64::from_le_bytes(self.array("a frame")?);
        let end = usize::try_from(length).ok().and_then(|length| self.pos.checked_add(length));
        match end {
            Some(end) if end <= self.bytes.len() => self.frame_end = end,
            _ => return Err(self.truncated("a frame")),
        }
        Ok(())
    }

    /// A length of `width` bytes and what it counts.
    pub(crate) fn counted(&mut self, argument: Argument, what: &str) -> Result<&'a [u8]> {
        let (Argument::Counted(width) | Argument::CountedSigned(width)) = argument else {
            return Err(self.error("an opcode without a length was read as one with a length"));
        };
        let mut count = [0_u8; 8];
        let given = self.take(width as u64, what)?;
        count[..given.len()].copy_from_slice(given);
        let count = u64::from_le_bytes(count);
        if matches!(argument, Argument::CountedSigned(_)) && count > i32::MAX as u64 {
            return Err(self.error(format!("the length of {what} is negative")));
        }
        self.take(count, what)
    }

    /// The text up to the next newline, without it.
    pub(crate) fn line(&mut self, what: &str) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else { return Err(self.truncated(what)) };
        self.advance(length + 1)?;
        Ok(&rest[..length])
    }

    /// The text up to the next newline, which must be UTF-8.
    pub(crate) fn text_line(&mut self, what: &str) -> Result<&'a str> {
        let line = self.line(what)?;
        std::str::from_utf8(line).map_err(|_| self.error(format!("{what} is no UTF-8 text")))
    }

    /// The number of a memo entry as text.
    pub(crate) fn index_line(&mut self) -> Result<u64> {
        let text = self.text_line("the number of a memo entry")?;
        text.trim().parse().map_err(|_| self.error(format!("{text:?} is no number of a memo entry")))
    }

    /// A float as text.
    pub(crate) fn float_line(&mut self) -> Result<f64> {
        let text = self.text_line("a float")?;
        text.trim().parse().map_err(|_| self.error(format!("{text:?} is no float")))
    }

    /// An integer or a bool of protocol 0.
    pub(crate) fn int_line(&mut self) -> Result<Value> {
        let before = self.pos;
        match self.line("an integer")? {
            b"00" => return Ok(Value::Bool(false)),
            b"01" => return Ok(Value::Bool(true)),
            _ => self.pos = before,
        }
        Ok(self.integer_line()?.into())
    }

    /// An integer as text, as Python's `int(text, 0)` reads it; a final `L` is Python 2's.
    pub(crate) fn integer_line(&mut self) -> Result<BigInt> {
        let text = self.text_line("an integer")?;
        integer(text.trim().trim_end_matches('L'))
            .ok_or_else(|| self.error(format!("{:?} is no integer", text.chars().take(40).collect::<String>())))
    }
}

fn integer(text: &str) -> Option<BigInt> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (Sign::Minus, &text[1..]),
        b'+' => (Sign::Plus, &text[1..]),
        _ => (Sign::Plus, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        _ => (10, digits),
    };
    let plain = !digits.is_empty() && digits.len() <= MAX_DIGITS && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    let magnitude = if plain { BigInt::parse_bytes(digits.as_bytes(), radix)? } else { return None };
    Some(if sign == Sign::Minus { -magnitude } else { magnitude })
}
