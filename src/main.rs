//! The program: the crypto provider first, then what was asked for on the command line.

use std::process::ExitCode;

// Many short-lived buffers on many threads: measured, mimalloc costs less than the system's allocator here.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
