//! What no compiler looks at. Each problem is a line that names the file, the place and the remedy.

mod arrows;
mod files;
mod links;

use std::process::Command;

use crate::{Result, output, top};

/// Looks at everything and tells all.
pub(crate) fn run() -> Result<()> {
    let files = repository_files()?;
    let mut problems = Vec::new();
    arrows::check(&mut problems)?;
    files::check(&files, &mut problems)?;
    links::check(&files, &mut problems)?;
    for problem in &problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        count => Err(format!("{count} to mend")),
    }
}

/// The files that git knows or would take, by their path from the top.
fn repository_files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    // A checkout may belong to someone else.
    git.args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = output(git.current_dir(top()))?;
    let mut files: Vec<String> =
        listed.lines().filter(|f| top().join(f).is_file()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}
