//! Values of enums and their numbers, which stand in `record.proto` only.

use super::v1;
use crate::features::{KidClass, PatternKind};
use crate::transaction::{Anomaly, IncompleteReason, Role, Version};

/// An enum whose values have numbers; those without a name are kept as numbers.
pub(super) trait Numbered {
    /// The number of a value.
    fn number(self) -> i32;
    /// The value of a number.
    fn of_number(number: i32) -> Self;
}

macro_rules! numbered {
    ($($name:ident { $($value:ident)* })*) => { $(
        impl Numbered for $name {
            fn number(self) -> i32 {
                match self {
                    $(Self::$value => v1::$name::$value as i32,)*
                    Self::Unknown(number) => number as i32,
                }
            }

            fn of_number(number: i32) -> Self {
                match v1::$name::try_from(number) {
                    $(Ok(v1::$name::$value) => Self::$value,)*
                    _ => Self::Unknown(number as u32),
                }
            }
        }
    )* };
}

numbered! {
    Role { Server Client }
    Version { Http10 Http11 Http2 Http09 Other }
    IncompleteReason {
        Truncated ResponseMissing RequestMissing Joined HpackUnknown Gap ClosedEarly RingFull Memory
    }
    Anomaly {
        MalformedHead TooManyLines LengthAndEncoding LengthsDiffer LengthInvalid EncodingNotChunked ChunkInvalid ObsFold
        BareLf UnexpectedResponse OverlapDiffers StrayBytes PseudoFieldsInvalid Pushed FramesInvalid
        BareCr SpaceBeforeColon EncodingAmbiguous VersionUnknown StatusOutOfRange
        FramingObscured TrailerFraming
    }
    KidClass { Empty Uuid Number Hex Thumbprint Word Url Path Odd }
    PatternKind { Secret Attack }
}
