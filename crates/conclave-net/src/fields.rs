//! Optional fields: how messages grow without a day on which all programs have to change.
//!
//! On a stream that can grow, each frame's payload begins with its fields:
//! `u16 length of all fields || per field u8 tag || u16 length || value`, tags ascending. The rest is the payload as it
//! has always been. Who does not know a tag passes over it. What is new is said in a field, or in a message of a new kind,
//! which others pass over as well; nobody relies on either before the other side has said that it knows it.

/// The most bytes that a frame's fields take, their common length not counted.
pub const MAX_FIELDS: usize = 4096;

/// The fields of one frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(u8, Vec<u8>)>);

impl Fields {
    /// With one more field. Tags come in ascending order; what does not fit is left out.
    #[must_use]
    pub fn with(mut self, tag: u8, value: &[u8]) -> Self {
        let ascends = self.0.last().is_none_or(|(last, _)| *last < tag);
        debug_assert!(ascends, "fields in order");
        if ascends && self.len() + 3 + value.len() <= MAX_FIELDS {
            self.0.push((tag, value.to_vec()));
        }
        self
    }

    /// A field's value.
    pub fn get(&self, tag: u8) -> Option<&[u8]> {
        let field = self.0.iter().find(|(known, _)| *known == tag);
        field.map(|(_, value)| value.as_slice())
    }

    /// Bytes of all fields, their common length not counted.
    fn len(&self) -> usize {
        self.0.iter().map(|(_, value)| 3 + value.len()).sum()
    }

    /// As they stand at the beginning of a payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 + self.len());
        bytes.extend_from_slice(&u16::try_from(self.len()).unwrap_or(0).to_be_bytes());
        for (tag, value) in &self.0 {
            bytes.push(*tag);
            bytes.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    /// Reads the fields at the beginning of a payload; gives the rest, too. `None` for what [`Fields::encode`] would not
    /// have written.
    pub fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (length, rest) = payload.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_FIELDS {
            return None;
        }
        let (mut fields, rest) = rest.split_at_checked(length)?;
        let mut list: Vec<(u8, Vec<u8>)> = Vec::new();
        while let Some((tag, after)) = fields.split_first() {
            if list.last().is_some_and(|(last, _)| last >= tag) {
                return None;
            }
            let (length, after) = after.split_first_chunk()?;
            let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            list.push((*tag, value.to_vec()));
            fields = after;
        }
        Some((Self(list), rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn fields_survive_the_wire(
            map in collection::btree_map(any::<u8>(), collection::vec(any::<u8>(), 0..40), 0..20),
            rest in collection::vec(any::<u8>(), 0..20),
        ) {
            let fields = map.iter().fold(Fields::default(), |all, (tag, value)| all.with(*tag, value));
            let bytes = [fields.encode(), rest.clone()].concat();
            let (read, after) = Fields::decode(&bytes).unwrap();
            for (tag, value) in &map {
                prop_assert_eq!(read.get(*tag), Some(value.as_slice()));
            }
            prop_assert_eq!((read, after), (fields, rest.as_slice()));
        }

        #[test]
        fn what_decodes_is_what_would_have_been_written(bytes in collection::vec(any::<u8>(), 0..60)) {
            if let Some((fields, rest)) = Fields::decode(&bytes) {
                prop_assert_eq!([fields.encode(), rest.to_vec()].concat(), bytes);
            }
        }
    }

    #[test]
    fn fields_have_one_form_and_a_bound() {
        let good = Fields::default().with(1, b"x").with(7, b"").encode();
        assert_eq!(good, [0, 7, 1, 0, 1, b'x', 7, 0, 0]);
        for bad in [
            &[][..],
            &[0],
            &[0, 1],
            &[0, 1, 5],
            &[0, 3, 5, 0, 1],
            // Twice, and out of order.
            &[0, 6, 5, 0, 0, 5, 0, 0],
            &[0, 6, 5, 0, 0, 4, 0, 0],
        ] {
            assert_eq!(Fields::decode(bad), None, "{bad:?}");
        }
        let most = Fields::default().with(1, &[9; MAX_FIELDS - 3]);
        assert_eq!(Fields::decode(&most.encode()).unwrap().0, most);
        assert_eq!(most.clone().with(2, b""), most);
        let length = u16::try_from(MAX_FIELDS + 1).unwrap().to_be_bytes();
        let inner = u16::try_from(MAX_FIELDS - 2).unwrap().to_be_bytes();
        let long = [&length[..], &[1], &inner, &[9; MAX_FIELDS - 2]].concat();
        assert_eq!(Fields::decode(&long), None);
    }
}
