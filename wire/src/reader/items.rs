//! Lists and maps, item by item.

use serde::de::{self, DeserializeSeed};

use super::{Error, Reader, Result, wrong};

/// The items of a list, or the entries of a map, that are still to come.
pub(super) struct Items<'r, 'de> {
    pub(super) reader: &'r mut Reader<'de>,
    /// How many; `None` where a break ends them.
    pub(super) left: Option<u64>,
    pub(super) ended: bool,
}

impl Items<'_, '_> {
    #[inline]
    fn more(&mut self) -> Result<bool> {
        if !self.ended {
            match &mut self.left {
                Some(0) => self.ended = true,
                Some(left) => *left -= 1,
                None => self.ended = self.reader.at_break()?,
            }
        }
        Ok(!self.ended)
    }

    /// The visitor has had enough: there must be nothing more.
    pub(super) fn end(mut self) -> Result<()> {
        match self.more()? {
            false => Ok(()),
            true => Err(wrong("more items than there should be")),
        }
    }

    /// What is left, as far as the bytes can hold it.
    fn hint(&self, smallest: usize) -> Option<usize> {
        let room = self.reader.left() / smallest;
        self.left
            .map(|left| usize::try_from(left).unwrap_or(room).min(room))
    }
}

impl<'de> de::SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        match self.more()? {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint(1)
    }
}

impl<'de> de::MapAccess<'de> for &mut Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        match self.more()? {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint(2)
    }
}
