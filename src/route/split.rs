//! Which of several pools a request goes to, by weight.
//!
//! Every request is drawn anew: a client that must stay with one pool is told apart by a header or cookie in its own
//! route, not here.

/// Cumulative weights over pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The sum of the weights up to and with each pool.
    ends: Box<[u64]>,
}

/// Why weights are not a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileSplitError {
    #[error("no pool is named")]
    Empty,
    #[error("every weight is 0, so no pool would get a request")]
    AllZero,
}

impl Split {
    /// Weights in the order of the pools; a pool with weight 0 gets nothing.
    pub fn compile(weights: impl IntoIterator<Item = u32>) -> Result<Self, CompileSplitError> {
        let running = |total: &mut u64, weight: u32| {
            *total += u64::from(weight);
            Some(*total)
        };
        let ends: Box<[u64]> = weights.into_iter().scan(0, running).collect();
        match ends.last() {
            None => Err(CompileSplitError::Empty),
            Some(0) => Err(CompileSplitError::AllZero),
            Some(_) => Ok(Self { ends }),
        }
    }

    /// The index of the pool that an even random number draws.
    pub fn pick(&self, random: u64) -> usize {
        let total = self.ends.last().copied().unwrap_or_default();
        // The high half of the product is even in 0..total, without the bias of a remainder.
        let point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        self.ends.partition_point(|end| *end <= point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_pool_gets_its_share() {
        let split = Split::compile([95, 0, 5]).unwrap();
        let mut seen = [0; 3];
        for step in 0..1000_u64 {
            seen[split.pick(step * (u64::MAX / 1000 + 1))] += 1;
        }
        assert_eq!(seen, [950, 0, 50]);
    }

    #[test]
    fn weights_that_name_no_pool_are_refused() {
        assert_eq!(Split::compile([]), Err(CompileSplitError::Empty));
        assert_eq!(Split::compile([0, 0]), Err(CompileSplitError::AllZero));
    }

    proptest! {
        #[test]
        fn only_pools_with_a_weight_are_picked(
            weights in prop::collection::vec(prop_oneof![Just(0), Just(u32::MAX), any::<u32>()], 1..8),
            random in prop_oneof![Just(0), Just(u64::MAX), any::<u64>()],
        ) {
            if let Ok(split) = Split::compile(weights.iter().copied()) {
                prop_assert!(weights[split.pick(random)] > 0);
            }
        }
    }
}
