//! `stackcron man`: the manual pages, made from the arguments' own definitions.

use std::path::PathBuf;

use anyhow::Context;
use clap_mangen::Man;

use super::{Status, output};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write the page of every command into this directory.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args, command: clap::Command) -> anyhow::Result<Status> {
    match &args.directory {
        Some(directory) => {
            clap_mangen::generate_to(command, directory)
                .with_context(|| format!("the pages cannot be written to {}", directory.display()))?;
            Ok(Status::Done)
        }
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            output::print(&page)
        }
    }
}
