//! Draws a server at random by weight in constant time: Vose's alias method over the weights as written.
//!
//! Closed servers are drawn again, which leaves the others their shares exactly; where few are open, one pass over all
//! finds one with the same odds.

use std::sync::Arc;

use crate::pool::choice::{Chance, Choice, weight_of};
use crate::server::Server;

/// Draws before the pass over all servers; with half of them closed it comes once in 65,536 picks.
const DRAWS: usize = 16;

#[derive(Debug)]
pub struct Draw {
    /// Per column, the share below which it stands for itself, and whom it stands for above.
    columns: Box<[(f64, u32)]>,
}

impl Draw {
    pub fn build(servers: &[Arc<Server>]) -> Self {
        let weights: Vec<f64> = (0..servers.len()).map(|i| f64::from(weight_of(servers, i))).collect();
        let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
        let mut rest: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut columns: Vec<(f64, u32)> = (0..rest.len()).map(|index| (1.0, index as u32)).collect();
        let (mut light, mut heavy): (Vec<usize>, Vec<usize>) = (0..rest.len()).partition(|i| rest[*i] < 1.0);
        while let (Some(low), Some(high)) = (light.pop(), heavy.pop()) {
            columns[low] = (rest[low], high as u32);
            rest[high] -= 1.0 - rest[low];
            if rest[high] < 1.0 { light.push(high) } else { heavy.push(high) }
        }
        Self { columns: columns.into_boxed_slice() }
    }

    /// An open server, by weight and growth; `None` when none is open.
    pub fn open(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        let drawn = (0..DRAWS).find_map(|_| self.once(choice, chance));
        drawn.or_else(|| pass_over_all(choice, chance))
    }

    /// One draw; `None` when it fell on a server that is closed or lets the request pass.
    pub fn once(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        let column = chance.below(self.columns.len());
        let (share, other) = *self.columns.get(column)?;
        let index = if chance.fraction() < share { column } else { other as usize };
        (choice.is_open(index) && !choice.is_thinned(index, chance)).then_some(index)
    }
}

fn pass_over_all(choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
    let (mut picked, mut total) = (None, 0.0);
    for index in (0..choice.servers.len()).filter(|index| choice.is_open(*index)) {
        let weight = choice.weight(index);
        total += weight;
        if chance.fraction() * total < weight {
            picked = Some(index);
        }
    }
    picked
}
