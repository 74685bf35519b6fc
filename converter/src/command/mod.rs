//! The subcommands. Each returns whether what it checked holds.

mod bench;
mod board;
mod cpu;
mod demo;
mod eval;
mod head;
mod inspect;
#[cfg(feature = "audio")]
mod listen;
mod pack;
mod plan;
mod report;
mod run;
mod self_test;
mod shared;
mod sign;
mod table;
mod tokens;
mod transcribe;
#[cfg(feature = "verify")]
mod verify;
mod write;

use anyhow::Result;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Demo(demo::Demo),
    Pack(pack::Pack),
    Inspect(inspect::Inspect),
    Plan(plan::PlanCommand),
    Run(Box<run::Run>),
    #[cfg(feature = "audio")]
    Listen(listen::Listen),
    #[cfg(feature = "verify")]
    Verify(verify::Verify),
    Eval(eval::Eval),
    Report(report::ReportCommand),
    Bench(bench::Bench),
    Cpu(cpu::Cpu),
    SelfTest(self_test::SelfTestCommand),
    Keygen(sign::Keygen),
    Sign(sign::Sign),
    SignKeys(sign::SignKeys),
    VerifySignature(sign::VerifySignature),
}

impl Command {
    /// Does it; false if a verification failed.
    pub(crate) fn run(&self) -> Result<bool> {
        match self {
            Self::Demo(command) => command.run().map(|()| true),
            Self::Pack(command) => command.run().map(|()| true),
            Self::Inspect(command) => command.run().map(|()| true),
            Self::Plan(command) => command.run().map(|()| true),
            Self::Run(command) => command.run().map(|()| true),
            #[cfg(feature = "audio")]
            Self::Listen(command) => command.run().map(|()| true),
            #[cfg(feature = "verify")]
            Self::Verify(command) => command.run(),
            Self::Eval(command) => command.run().map(|()| true),
            Self::Report(command) => command.run().map(|()| true),
            Self::Bench(command) => command.run().map(|()| true),
            Self::Cpu(command) => command.run().map(|()| true),
            Self::SelfTest(command) => command.run().map(|()| true),
            Self::Keygen(command) => command.run().map(|()| true),
            Self::Sign(command) => command.run().map(|()| true),
            Self::SignKeys(command) => command.run().map(|()| true),
            Self::VerifySignature(command) => command.run(),
        }
    }
}
