//! `testbed up`, `testbed down` and `testbed demo`, for the Makefile.

use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use testbed::{
    demo,
    environment::{self, Environment},
    node,
};

#[derive(Debug, Parser)]
#[command(about = "A real Kubernetes API server and an AWS emulator on loopback")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start an environment and leave it running.
    Up {
        /// Where everything of it lies.
        #[arg(long, default_value = "target/env")]
        directory: PathBuf,
        /// Whether the emulator enforces IAM policies.
        #[arg(long, env = "EMULATOR_AUTH", default_value_t = true, action = clap::ArgAction::Set)]
        emulator_auth: bool,
        /// The operator's binary.
        #[arg(long, default_value = "target/debug/bucket-replication-operator")]
        operator: PathBuf,
    },
    /// End what `up` started.
    Down {
        /// Where everything of it lies.
        #[arg(long, default_value = "target/env")]
        directory: PathBuf,
    },
    /// The walkthrough, from two empty accounts to replicated objects and back.
    Demo {
        /// Where everything of it lies.
        #[arg(long, default_value = "target/demo")]
        directory: PathBuf,
        /// The operator's binary.
        #[arg(long, default_value = "target/debug/bucket-replication-operator")]
        operator: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if let Command::Demo { .. } = command
        && !node::is_inside()
    {
        match node::can_run() {
            // The first process of the namespaces plays it, with pods.
            Ok(()) => {
                return match node::enter() {
                    Ok(status) => ExitCode::from(node::exit_code(status)),
                    Err(error) => failed(&error),
                };
            }
            Err(reason) => {
                let _ = writeln!(
                    stdout(),
                    "The operator runs as a process here, not as pods: {reason}."
                );
            }
        }
    }
    match run(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(stderr(), "error: {error:#}");
    ExitCode::FAILURE
}

async fn run(command: Command) -> anyhow::Result<()> {
    let tell = |line: &str| {
        let _ = writeln!(stdout(), "{line}");
    };
    match command {
        Command::Up {
            directory,
            emulator_auth,
            operator,
        } => environment::up(&directory, emulator_auth, &operator, &tell).await,
        Command::Down { directory } => {
            let ended = Environment::stop(&directory).await?;
            tell(&if ended.is_empty() {
                "nothing was running".into()
            } else {
                format!("ended {}", ended.join(", "))
            });
            Ok(())
        }
        Command::Demo {
            directory,
            operator,
        } => demo::run(&directory, &operator, &tell).await,
    }
}
