//! The strings that a pickle's opcodes make, read where they stand.

use crate::Value;
use crate::pickle::names::listed::{LONGEST, Reader, little_endian};
use crate::pickle::opcodes as op;
use crate::pickle::opcodes::Argument;
use crate::pickle::text;

impl Reader<'_> {
    /// The string that the opcode at this byte makes, as the reader of values makes it; `None` where it is too long.
    pub(super) fn text_at(&self, at: u32) -> Option<Value> {
        // Escapes take up to ten bytes a character.
        self.text_within(at, 10 * LONGEST)
    }

    /// The same; `None` where it is longer than so many bytes.
    pub(super) fn text_within(&self, at: u32, most: usize) -> Option<Value> {
        let at = at as usize;
        let opcode = *self.bytes.get(at)?;
        let (_, argument) = op::describe(opcode)?;
        let rest = self.bytes.get(at + 1..)?;
        let text = match argument {
            Argument::Counted(width) | Argument::CountedSigned(width) => {
                let length = usize::try_from(little_endian(rest.get(..width)?)).ok()?;
                rest.get(width..)?.get(..length)?
            }
            _ => {
                let line = rest.get(..most).unwrap_or(rest);
                &line[..line.iter().position(|&byte| byte == b'\n')?]
            }
        };
        if text.len() > most {
            return None;
        }
        match opcode {
            op::STRING => Some(text::unquote(text).map_or(Value::None, |text| text::python2(&text))),
            op::BINSTRING | op::SHORT_BINSTRING => Some(text::python2(text)),
            op::UNICODE => Some(text::raw_unicode_escape(text).unwrap_or(Value::None)),
            _ => Some(text::utf8(text).unwrap_or(Value::None)),
        }
    }
}
