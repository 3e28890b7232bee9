//! The `vxgate` binary: arguments, daemon, control socket, printing, lab, bench.
//! Never decides where a frame goes.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod capture;
mod check;
mod commands;
mod config;
mod control;
mod doctor;
mod explain;
mod failure;
mod gate;
mod init;
mod lab;
mod man;
mod metrics;
mod migrate;
mod namespaces;
mod own_file;
mod print;
mod sandbox;
mod top;
mod tunnel;
mod up;
mod watch;

use std::env;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use crate::failure::Failure;

fn main() -> ExitCode {
    let mut out = BufWriter::new(io::stdout());
    let result = run(&mut out).and_then(|()| out.flush().map_err(|error| Failure::output(&error)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before belongs before the error; a reader that is gone hears of neither.
            let _ = out.flush();
            if !failure.is_silent() {
                let _ = writeln!(io::stderr(), "{failure}");
            }
            failure.exit_code()
        }
    }
}

fn run(out: &mut dyn Write) -> Result<(), Failure> {
    match args::parse(env::args_os().collect())? {
        args::Parsed::Run(line) => commands::run(line, out),
        args::Parsed::Monitor(arguments) => commands::monitor(arguments),
        args::Parsed::Print(text) => out.write_all(text.as_bytes()).map_err(|error| Failure::output(&error)),
    }
}
