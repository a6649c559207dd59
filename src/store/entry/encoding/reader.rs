//! Reader of the serialised form. Refuses what a writer does not write; never knows an entry, never reserves memory for more than the bytes
//! that are there.

use super::error::DecodeError;

/// Takes values from the front of some bytes. `field` names the value in errors.
pub(super) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Fails if bytes are left.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { bytes: self.rest.len() }) }
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.byte(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid { field, reason: "is neither 0 nor 1" }),
        }
    }

    pub(super) fn integer(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let mut zigzag = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(DecodeError::Invalid { field, reason: "has more than 64 bits" });
            }
            zigzag |= bits << shift;
            if byte & 0x80 == 0 {
                if bits == 0 && shift > 0 {
                    return Err(DecodeError::Invalid { field, reason: "is longer than it must be" });
                }
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        Err(DecodeError::Invalid { field, reason: "has more than 64 bits" })
    }

    pub(super) fn hash(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let (hash, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(i64::from_le_bytes(*hash))
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'b [u8], DecodeError> {
        let length = self.length(field)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'b str, DecodeError> {
        let bytes = self.bytes(field)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid { field, reason: "is not UTF-8" })
    }

    pub(super) fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flag(field)? { read(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let length = self.length(field)?;
        // An item takes a byte at least.
        if length > self.rest.len() {
            return Err(DecodeError::Truncated { field });
        }
        (0..length).map(|_| read(self)).collect()
    }

    fn length(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        usize::try_from(self.integer(field)?)
            .map_err(|_| DecodeError::Invalid { field, reason: "has a length that is out of range" })
    }
}
