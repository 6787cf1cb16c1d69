//! Numbers out of bytes that may be too few.

/// What is left of some bytes; little-endian, as on every machine whose recordings can be replayed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    /// Takes bytes from the front.
    pub(crate) fn take(&mut self, n_bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n_bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn skip(&mut self, n_bytes: usize) -> Option<()> {
        self.take(n_bytes).map(|_| ())
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Takes a text that ends with a zero, and the zero.
    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(length)?;
        self.skip(1)?;
        Some(text)
    }

    /// Reads a number of 1, 2, 4 or 8 bytes at an offset.
    pub(crate) fn number_at(bytes: &[u8], offset: usize, size: usize) -> Option<u64> {
        let bytes = bytes.get(offset..offset.checked_add(size)?)?;
        if size == 0 {
            return None;
        }
        let mut number = [0; 8];
        number.get_mut(..size)?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(number))
    }
}
