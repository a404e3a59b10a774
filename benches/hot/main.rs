//! The hot pieces of a request, each alone: timed by criterion, or run a counted number of times for callgrind.
//!
//! `cargo bench --bench hot` times them. `scripts/budget` counts their instructions and holds them against `budget.json`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pieces;

use pieces::{PIECES, Pieces};

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--count");
    let mut pieces = Pieces::new();
    if let Some(times) = arguments.nth(1) {
        let times: u32 = times.parse().expect("a number after --count");
        for (_, piece) in PIECES {
            (0..times).for_each(|_| piece(&mut pieces));
        }
        return;
    }
    let mut criterion = criterion::Criterion::default().configure_from_args();
    for (name, piece) in PIECES {
        criterion.bench_function(name, |bencher| bencher.iter(|| piece(&mut pieces)));
    }
    criterion.final_summary();
}
