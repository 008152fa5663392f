//! Finding blocks of code in pages of Markdown.

use std::fs;
use std::path::{Path, PathBuf};

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path in the workspace.
    pub name: String,
    /// The blocks with commands in them.
    pub blocks: Vec<Block>,
    /// The first block of TOML, if there is one.
    pub toml: Option<String>,
    /// Pieces of code within sentences.
    pub inline: Vec<String>,
}

/// A block of code with commands in it.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The number of its first line.
    pub line: usize,
    /// Whether only lines with a prompt are commands.
    pub prompts: bool,
    /// Its lines.
    pub lines: Vec<String>,
    /// What the comments before it say to tests.
    pub directives: Vec<String>,
    /// The lines that its commands print, numbers apart.
    pub printed: Vec<String>,
}

/// Directories of a workspace in which no pages are looked for: what is made there, and what
/// fuzzing found.
const NOT_IN: [&str; 3] = ["target", "corpus", "artifacts"];

/// The pages of a workspace that show commands: CONTRIBUTING.md, what is in `docs` and below, and
/// every README.md.
pub fn pages(workspace: &Path) -> Vec<PathBuf> {
    let mut pages = vec![workspace.join("CONTRIBUTING.md")];
    let mut directories = vec![workspace.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let is_documentation = directory.starts_with(workspace.join("docs"));
        for entry in fs::read_dir(directory)
            .expect("directories of the workspace should be readable")
            .map(Result::unwrap)
        {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            // What a symbolic link leads to is elsewhere, too.
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && !NOT_IN.contains(&&*name) {
                    directories.push(path);
                }
            } else if name == "README.md" || (is_documentation && name.ends_with(".md")) {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

impl Page {
    /// Reads a page.
    pub fn read(workspace: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("pages should be readable");
        let name = path
            .strip_prefix(workspace)
            .unwrap_or(path)
            .display()
            .to_string();
        Self::parse(name, &text)
    }

    /// Finds what there is in a page's text.
    pub fn parse(name: String, text: &str) -> Self {
        let mut page = Self {
            name,
            blocks: Vec::new(),
            toml: None,
            inline: Vec::new(),
        };
        let mut directives: Vec<String> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let start = line.trim_start();
            if let Some(directive) = start
                .strip_prefix("<!-- test: ")
                .and_then(|rest| rest.strip_suffix(" -->"))
            {
                directives.push(directive.to_owned());
            } else if let Some(info) = start.strip_prefix("```") {
                let inside = lines.by_ref().map(|(_, line)| line.to_owned());
                let inside: Vec<String> = inside
                    .take_while(|line| !line.trim_start().starts_with("```"))
                    .collect();
                page.block(at + 1, info.trim(), inside, std::mem::take(&mut directives));
            } else {
                page.inline
                    .extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
                assert!(
                    start.is_empty() || directives.is_empty(),
                    "{}:{}: a comment for tests stands before no block of code",
                    page.name,
                    at + 1
                );
            }
        }
        page
    }

    fn block(&mut self, line: usize, info: &str, lines: Vec<String>, directives: Vec<String>) {
        let prompts = info != "sh" && lines.iter().any(|line| line.starts_with("$ "));
        if info == "sh" || prompts {
            self.blocks.push(Block {
                line,
                prompts,
                lines,
                directives,
                printed: Vec::new(),
            });
        } else if info == "text printed" {
            let before = self
                .blocks
                .last_mut()
                .expect("what is printed should follow its commands");
            before.printed.extend(lines);
        } else if info.starts_with("toml") && self.toml.is_none() {
            self.toml = Some(lines.join("\n") + "\n");
        }
    }
}
