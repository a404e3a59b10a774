//! At random, by weight, in constant time; what is in flight does not matter.

use std::sync::Arc;

use super::draw::Draw;
use crate::pool::choice::{Chance, Choice};
use crate::server::Server;

#[derive(Debug)]
pub struct Random {
    draw: Draw,
}

impl Random {
    pub fn build(servers: &[Arc<Server>]) -> Self {
        Self { draw: Draw::build(servers) }
    }

    pub fn pick(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        self.draw.open(choice, chance)
    }
}
