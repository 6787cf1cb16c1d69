//! One value for each cause.

use std::{
    iter::Sum,
    ops::{Index, IndexMut},
};

use serde::{Serialize, Serializer};

use crate::account::cause::Cause;

const N_CAUSES: usize = Cause::ALL.len();

/// A table with one value for each [`Cause`].
///
/// It serialises to an object of all causes by name, in the order of [`Cause::ALL`]; zeros too, so that tables of
/// several recordings have the same columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByCause<T>([T; N_CAUSES]);

// INVARIANT: `Cause::ALL` lists the variants in order, so that a cause as a number is its index in the table.
const _: () = {
    let mut idx = 0;
    while idx < N_CAUSES {
        assert!(Cause::ALL[idx] as usize == idx);
        idx += 1;
    }
};

impl<T> ByCause<T> {
    /// Builds a table from a function of the cause.
    pub fn from_fn(value: impl FnMut(Cause) -> T) -> Self {
        Self(Cause::ALL.map(value))
    }

    /// Lists the causes with their values, in the order of [`Cause::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Cause, &T)> {
        Cause::ALL.into_iter().zip(&self.0)
    }

    /// Adds up the values of all causes.
    pub fn total<'a>(&'a self) -> T
    where
        T: Sum<&'a T>,
    {
        self.0.iter().sum()
    }
}

impl<T> Index<Cause> for ByCause<T> {
    type Output = T;

    fn index(&self, cause: Cause) -> &T {
        // Within bounds by the invariant above.
        &self.0[cause as usize]
    }
}

impl<T> IndexMut<Cause> for ByCause<T> {
    fn index_mut(&mut self, cause: Cause) -> &mut T {
        // Within bounds by the invariant above.
        &mut self.0[cause as usize]
    }
}

impl<T: Serialize> Serialize for ByCause<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(cause, value)| (cause.name(), value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_serialises_in_report_order_with_zeros() {
        let mut table = ByCause::<u64>::default();
        table[Cause::Munmap] = 7;
        table[Cause::Fork] = 1;
        let json = serde_json::to_string(&table).expect("a map of numbers is valid JSON");
        assert!(json.starts_with(r#"{"fork":1,"exec":0,"exit":0,"mmap":0,"munmap":7,"#), "{json}");
        assert_eq!(table.total(), 8);
    }
}
