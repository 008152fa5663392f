//! `vmm images`.

use clap::Subcommand;
use guest_images::root_disk::{self, RootSpec};
use guest_images::{Cache, Image, ImageSpec, catalog};
use serde::Serialize;

use super::guest;
use super::install::{self, Install};
use super::stdout::print;
use super::{CommandExit, UserError};

/// List, fetch and build guest images.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub enum Command {
    /// List the images on offer and which of them are here
    List {
        /// As JSON, with the paths of those that are here
        #[arg(long)]
        json: bool,
    },
    /// Fetch images and root disks into the cache; one that has to be built is built
    Fetch {
        /// Their names
        #[arg(required_unless_present = "all", value_name = "NAME")]
        names: Vec<String>,
        /// All images that need no build
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// The vmlinux with the debug information of their kernels too, for --vmlinux NAME: of a
        /// stock kernel half a gigabyte or more to be fetched
        #[arg(long)]
        debug_info: bool,
        #[command(flatten)]
        install: Install,
    },
    /// Build images from source; without a name, all that have to be built
    Build {
        /// Their names
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        install: Install,
    },
    /// Read images and root disks in the cache and compare them with their hashes
    Verify {
        /// Their names; without one, all that are here
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

const AFTER_HELP: &str = "\
Examples:
  vmm images list
  vmm images fetch debian-armmp debian-armmp-lpae
  vmm images fetch debian:bookworm
  vmm images build ipmmu

Images are kept in $VIOMMU_CACHE, else $XDG_CACHE_HOME/viommu, else ~/.cache/viommu. What is interrupted goes on where
it was at the next call.";

/// Runs the subcommand.
pub fn run(command: Command) -> Result<CommandExit, UserError> {
    let cache = Cache::open()?;
    match command {
        Command::List { json } => list(&cache, json)?,
        Command::Fetch {
            names,
            all,
            debug_info,
            install,
        } => {
            install.apply();
            let (roots, names) = divide(&names)?;
            let specs = if all {
                every(|spec| !spec.needs_build())
            } else {
                find(&names)?
            };
            // Whatever may have to be asked comes before the first long download.
            for root in &roots {
                cache.prepare_root_disk(root.name, &mut install::terminal())?;
            }
            obtain(&cache, &specs)?;
            if debug_info {
                obtain_debug_info(&cache, &specs)?;
            }
            for root in roots {
                guest::obtain_root_disk(&cache, root)?;
                print(&format!("{}: is here\n", root.name));
            }
        }
        Command::Build { names, install } => {
            install.apply();
            let specs = if names.is_empty() {
                every(ImageSpec::needs_build)
            } else {
                find(&names)?
            };
            if let Some(stock) = specs.iter().find(|spec| !spec.needs_build()) {
                return Err(UserError::new(format!(
                    "{0} is a stock kernel and needs no build: vmm images fetch {0}",
                    stock.name
                )));
            }
            obtain(&cache, &specs)?;
        }
        Command::Verify { names } => verify(&cache, &names)?,
    }
    Ok(CommandExit::Success)
}

fn every(wanted: impl Fn(&ImageSpec) -> bool) -> Vec<&'static ImageSpec> {
    catalog::all().iter().filter(|spec| wanted(spec)).collect()
}

/// Divides names into those of root disks, which have a colon, and of images.
fn divide(names: &[String]) -> Result<(Vec<&'static RootSpec>, Vec<String>), UserError> {
    let (roots, images): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.contains(':'));
    let roots = roots.into_iter().map(|name| Ok(root_disk::find(name)?));
    Ok((
        roots.collect::<Result<_, UserError>>()?,
        images.into_iter().cloned().collect(),
    ))
}

/// Returns the images of these names; an unknown one is found before anything is done.
fn find(names: &[String]) -> Result<Vec<&'static ImageSpec>, UserError> {
    names.iter().map(|name| Ok(catalog::find(name)?)).collect()
}

fn obtain(cache: &Cache, specs: &[&'static ImageSpec]) -> Result<(), UserError> {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
    // For all of them at once, so that a question comes before the first long download.
    install::prepare_host(cache, &names)?;
    for spec in specs {
        let image = cache.obtain(spec.name, &mut install::terminal())?;
        print(&format!("{}: {} is here\n", spec.name, image.version));
    }
    Ok(())
}

fn obtain_debug_info(cache: &Cache, specs: &[&'static ImageSpec]) -> Result<(), UserError> {
    for spec in specs {
        let vmlinux = cache.obtain_debug_info(spec.name, &mut install::terminal())?;
        print(&format!(
            "{}: its debug information is {}\n",
            spec.name,
            vmlinux.display()
        ));
    }
    Ok(())
}

fn verify(cache: &Cache, names: &[String]) -> Result<(), UserError> {
    let all = names.is_empty();
    let (roots, names) = divide(names)?;
    let specs = if all { every(|_| true) } else { find(&names)? };
    let roots = if all {
        root_disk::all().iter().collect()
    } else {
        roots
    };
    let images = specs.iter().map(|spec| spec.name);
    for name in images.chain(roots.iter().map(|root| root.name)) {
        let mut terminal = install::terminal();
        let here = match name.contains(':') {
            true => cache.verify_root_disk(name, &mut terminal)?,
            false => cache.verify(name, &mut terminal)?,
        };
        match here {
            true => print(&format!("{name}: intact\n")),
            // Nobody has asked for this one by name.
            false if all => {}
            false => print(&format!("{name}: not here\n")),
        }
    }
    Ok(())
}

fn list(cache: &Cache, json: bool) -> Result<(), UserError> {
    let images: Vec<(&ImageSpec, Option<Image>)> = catalog::all()
        .iter()
        .map(|spec| Ok((spec, cache.image(spec.name)?)))
        .collect::<Result<_, UserError>>()?;
    if json {
        let entries = images.into_iter().map(|(spec, mut image)| {
            if let Some(image) = &mut image {
                image.vmlinux = cache.debug_info(spec.name)?;
            }
            Ok(Entry::new(spec, image.as_ref()))
        });
        let entries: Vec<Entry> = entries.collect::<Result<_, UserError>>()?;
        let text = serde_json::to_string_pretty(&entries);
        print(&format!(
            "{}\n",
            text.map_err(|error| UserError::new(error.to_string()))?
        ));
        return Ok(());
    }
    print(&table(&images));
    print(&format!("\n{}", root_disks(cache)?));
    print(&format!("\nThe cache is {}.\n", cache.root().display()));
    Ok(())
}

/// An image in the JSON list.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    aliases: &'static [&'static str],
    description: &'static str,
    how: String,
    version: Option<String>,
    kernel: Option<String>,
    raw_kernel: Option<String>,
    vmlinux: Option<String>,
    initramfs: Option<String>,
}

impl Entry {
    fn new(spec: &'static ImageSpec, image: Option<&Image>) -> Self {
        let path = |of: fn(&Image) -> Option<&std::path::PathBuf>| {
            image.and_then(of).map(|path| path.display().to_string())
        };
        Self {
            name: spec.name,
            aliases: spec.aliases,
            description: spec.description,
            how: spec.how(),
            version: image.map(|image| image.version.clone()),
            kernel: path(|image| Some(&image.kernel)),
            raw_kernel: path(|image| image.raw_kernel.as_ref()),
            vmlinux: path(|image| image.vmlinux.as_ref()),
            initramfs: path(|image| Some(&image.initramfs)),
        }
    }
}

/// Returns the table of root disks.
fn root_disks(cache: &Cache) -> Result<String, UserError> {
    let mut rows = vec![["ROOT DISK", "HERE", "WHAT"].map(str::to_owned)];
    for spec in root_disk::all() {
        let here = match cache.root_disk(spec.name)? {
            Some(disk) => format!("{} packages", disk.packages.len()),
            None => "-".to_owned(),
        };
        rows.push([spec.name.to_owned(), here, spec.description.to_owned()]);
    }
    Ok(aligned(&rows))
}

fn table(images: &[(&'static ImageSpec, Option<Image>)]) -> String {
    let mut rows = vec![["NAME", "HERE", "WHAT"].map(str::to_owned)];
    for (spec, image) in images {
        let mut name = spec.name.to_owned();
        for alias in spec.aliases {
            name += &format!(" ({alias})");
        }
        let here = image.as_ref().map_or("-", |image| image.version.as_str());
        rows.push([name, here.to_owned(), spec.description.to_owned()]);
    }
    aligned(&rows)
}

/// Returns rows as lines, each column as wide as its widest cell.
fn aligned(rows: &[[String; 3]]) -> String {
    let widths: Vec<usize> = (0..3)
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_an_image() {
        let images: Vec<_> = catalog::all().iter().map(|spec| (spec, None)).collect();
        let text = table(&images);
        assert_eq!(text.lines().count(), 1 + images.len());
        assert!(text.lines().all(|line| line == line.trim_end()));
        assert!(
            text.contains("\ndebian-armmp-6.1 (debian-armmp)  "),
            "{text}"
        );
    }
}
