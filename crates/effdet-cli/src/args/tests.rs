//! The command line and the documents that show it.

use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// The words of a line as a shell would split it; no more than the docs use.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote, mut open) = (vec![String::new()], None, false);
    for c in line.chars() {
        match (quote, c) {
            (None, '"' | '\'') => (quote, open) = (Some(c), true),
            (Some(q), _) if c == q => quote = None,
            (None, ' ') if !words[words.len() - 1].is_empty() || open => {
                words.push(String::new());
                open = false;
            }
            (None, ' ') => {}
            _ => {
                let last = words.len() - 1;
                words[last].push(c);
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_of_the_docs_is_understood() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    // Outside the repository there are no docs.
    let Ok(docs) = root.join("docs").read_dir() else { return };
    pages.extend(
        docs.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md")),
    );
    let mut commands = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```sh\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default().replace("\\\n", " ");
            for line in block.lines().map(str::trim) {
                let Some(rest) =
                    line.strip_prefix("effdet ").or_else(|| line.strip_prefix("cargo run --release -- "))
                else {
                    continue;
                };
                let rest = rest.split(" #").next().unwrap_or_default();
                let arguments = std::iter::once("effdet".to_owned()).chain(words(rest));
                if let Err(error) = Cli::try_parse_from(arguments)
                    && error.use_stderr()
                {
                    panic!("{}: {line}\n{error}", page.display());
                }
                commands += 1;
            }
        }
    }
    assert!(commands >= 15, "only {commands} commands in the docs");
}

#[test]
fn the_examples_of_the_help_are_command_lines() {
    let lines = examples::ALL.iter().flat_map(|text| text.lines().map(str::trim_start));
    let commands: Vec<&str> = lines.filter(|line| line.starts_with("effdet ")).collect();
    assert!(commands.len() >= 2 * examples::ALL.len(), "only {} examples", commands.len());
    for line in commands {
        let command = line.split(['|', '>']).next().unwrap_or_default();
        // The last one of the first page asks for help, which is no error.
        if let Err(error) = Cli::try_parse_from(words(command))
            && error.use_stderr()
        {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn every_command_has_examples() {
    for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
        assert!(command.get_after_help().is_some(), "{}", command.get_name());
    }
}
