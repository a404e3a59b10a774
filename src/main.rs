//! The program: the crypto provider first, then what was asked for on the command line.

use std::process::ExitCode;

// Its own thread gives free memory back within seconds, also when nothing is asked of Lintel any more. Measured against others
// in docs/performance.md, "Allocator"; .cargo/config.toml has its settings.
#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before anything else: a dependency compiles a second provider in, and rustls would refuse to choose.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return lintel::cli::fail(&anyhow::anyhow!("the crypto provider was installed twice"));
    }
    match lintel::cli::run(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => lintel::cli::fail(&error),
    }
}
