//! The opcodes of pickle protocols 0 to 5, after `pickletools`: one table of name, byte, the argument that follows, and
//! what some make of it.

/// What follows an opcode in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// Nothing.
    None,
    /// This many bytes.
    Fixed(usize),
    /// Text up to a newline.
    Line,
    /// Two lines.
    TwoLines,
    /// An unsigned length of this many bytes, then as many bytes as it says.
    Counted(usize),
    /// As `Counted`, where Python reads the length as signed.
    CountedSigned(usize),
}

/// What some opcodes push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Makes {
    /// A number, bytes or an empty container.
    Plain,
    /// A string.
    Text,
}

macro_rules! opcodes {
    ($($name:ident $byte:literal $argument:expr $(=> $makes:ident)?;)*) => {
        $(pub(super) const $name: u8 = $byte;)*

        /// The name and the argument of an opcode; `None` where there is no such opcode.
        pub(super) fn describe(opcode: u8) -> Option<(&'static str, Argument)> {
            #[allow(clippy::enum_glob_use)]
            use Argument::*;
            match opcode {
                $($byte => Some((stringify!($name), $argument)),)*
                _ => Option::None,
            }
        }

        /// What an opcode makes that needs nothing but its argument.
        pub(super) fn makes(opcode: u8) -> Option<Makes> {
            match opcode {
                $($($byte => Some(Makes::$makes),)?)*
                _ => None,
            }
        }
    };
}

opcodes! {
    // Protocol 0.
    MARK b'(' None;
    STOP b'.' None;
    POP b'0' None;
    DUP b'2' None;
    FLOAT b'F' Line => Plain;
    INT b'I' Line => Plain;
    LONG b'L' Line => Plain;
    NONE b'N' None => Plain;
    PERSID b'P' Line;
    REDUCE b'R' None;
    STRING b'S' Line => Text;
    UNICODE b'V' Line => Text;
    APPEND b'a' None;
    BUILD b'b' None;
    GLOBAL b'c' TwoLines;
    DICT b'd' None;
    GET b'g' Line;
    INST b'i' TwoLines;
    LIST b'l' None;
    PUT b'p' Line;
    SETITEM b's' None;
    TUPLE b't' None;
    // Protocol 1.
    POP_MARK b'1' None;
    BINFLOAT b'G' Fixed(8) => Plain;
    BININT b'J' Fixed(4) => Plain;
    BININT1 b'K' Fixed(1) => Plain;
    BININT2 b'M' Fixed(2) => Plain;
    BINPERSID b'Q' None;
    BINSTRING b'T' CountedSigned(4) => Text;
    SHORT_BINSTRING b'U' Counted(1) => Text;
    BINUNICODE b'X' Counted(4) => Text;
    EMPTY_LIST b']' None => Plain;
    APPENDS b'e' None;
    BINGET b'h' Fixed(1);
    LONG_BINGET b'j' Fixed(4);
    OBJ b'o' None;
    BINPUT b'q' Fixed(1);
    LONG_BINPUT b'r' Fixed(4);
    EMPTY_TUPLE b')' None => Plain;
    EMPTY_DICT b'}' None => Plain;
    SETITEMS b'u' None;
    // Protocol 2.
    PROTO 0x80 Fixed(1);
    NEWOBJ 0x81 None;
    EXT1 0x82 Fixed(1);
    EXT2 0x83 Fixed(2);
    EXT4 0x84 Fixed(4);
    TUPLE1 0x85 None;
    TUPLE2 0x86 None;
    TUPLE3 0x87 None;
    NEWTRUE 0x88 None => Plain;
    NEWFALSE 0x89 None => Plain;
    LONG1 0x8a Counted(1) => Plain;
    LONG4 0x8b CountedSigned(4) => Plain;
    // Protocol 3.
    BINBYTES b'B' Counted(4) => Plain;
    SHORT_BINBYTES b'C' Counted(1) => Plain;
    // Protocol 4.
    SHORT_BINUNICODE 0x8c Counted(1) => Text;
    BINUNICODE8 0x8d Counted(8) => Text;
    BINBYTES8 0x8e Counted(8) => Plain;
    EMPTY_SET 0x8f None => Plain;
    ADDITEMS 0x90 None;
    FROZENSET 0x91 None;
    NEWOBJ_EX 0x92 None;
    STACK_GLOBAL 0x93 None;
    MEMOIZE 0x94 None;
    FRAME 0x95 Fixed(8);
    // Protocol 5.
    BYTEARRAY8 0x96 Counted(8) => Plain;
    NEXT_BUFFER 0x97 None;
    READONLY_BUFFER 0x98 None;
}

/// The name of an opcode, for messages.
pub(super) fn name(opcode: u8) -> &'static str {
    describe(opcode).map_or("an unknown opcode", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sixty_eight_opcodes_of_pickletools_are_there() {
        assert_eq!((0..=255_u8).filter(|&byte| describe(byte).is_some()).count(), 68);
        assert_eq!(describe(GLOBAL), Some(("GLOBAL", Argument::TwoLines)));
        assert_eq!(describe(0xff), None);
    }
}
