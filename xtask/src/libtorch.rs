//! `cargo xtask libtorch`: LibTorch from the Python wheel, for the feature `tch`.
//!
//! Burn 0.22 binds LibTorch 2.9.0. The wheel holds the same libraries; what it lacks is the layout that the bindings
//! expect, and a `libtorch.so` that does not bring all of CUDA with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What the bindings of Burn 0.22 are made for.
const VERSION: &str = "2.9.0";

#[derive(clap::Args)]
pub struct Arguments {
    /// Python that has torch, or that --install sets a fresh one up with.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Folder of the links, and of the Python environment that --install makes.
    #[arg(long, default_value = "target/libtorch")]
    folder: PathBuf,
    /// Make a Python environment in the folder and install torch there, with what pip is told by its own settings.
    #[arg(long)]
    install: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    fs::create_dir_all(&arguments.folder).with_context(|| arguments.folder.display().to_string())?;
    let folder = fs::canonicalize(&arguments.folder)?;
    let python =
        if arguments.install { install(&arguments.python, &folder)? } else { arguments.python.clone() };
    let Some((version, torch)) = find(&python)? else {
        bail!(
            "{} has no torch: name another Python with --python, or add --install to set torch {VERSION} up in {}",
            python.display(),
            folder.display()
        );
    };
    let number = version.split('+').next().unwrap_or_default();
    ensure!(
        number == VERSION,
        "{} has torch {version}, and the bindings are made for {VERSION}: name another Python with --python, or add \
         --install",
        python.display()
    );
    link(&torch, &folder)?;
    let mut libraries = vec![folder.join("lib")];
    // The wheel of PyPI is built with CUDA, and so its libraries for the CPU need these two.
    let nvidia = torch.with_file_name("nvidia");
    libraries.extend(
        ["cuda_runtime", "cuda_cupti"]
            .map(|part| nvidia.join(part).join("lib"))
            .into_iter()
            .filter(|path| path.is_dir()),
    );
    let libraries: Vec<String> = libraries.iter().map(|path| path.display().to_string()).collect();
    print(&format!(
        "export LIBTORCH={}\nexport LIBTORCH_BYPASS_VERSION_CHECK=1\nexport LD_LIBRARY_PATH={}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n",
        folder.display(),
        libraries.join(":")
    ))
}

/// A Python environment with torch in the folder.
fn install(python: &Path, folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("python");
    let inside = environment.join("bin/python");
    if !inside.is_file() {
        succeed(Command::new(python).args(["-m", "venv"]).arg(&environment))?;
    }
    // On Linux the index of PyTorch has the wheel without CUDA; PyPI has the one with it.
    let package = format!("torch=={VERSION}");
    succeed(Command::new(&inside).args(["-m", "pip", "install", "--quiet", &package]))?;
    Ok(inside)
}

fn succeed(command: &mut Command) -> Result<()> {
    // Only what is to be exported goes to standard output.
    let status = command.stdout(std::io::stderr()).status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// Version and folder of a Python's torch. Nothing of it is loaded.
fn find(python: &Path) -> Result<Option<(String, PathBuf)>> {
    const SCRIPT: &str = "\
import importlib.metadata, importlib.util
spec = importlib.util.find_spec('torch')
if spec: print(importlib.metadata.version('torch'), spec.submodule_search_locations[0], sep='\\n')
";
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .output()
        .with_context(|| format!("running {}", python.display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        python.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_once('\n').map(|(version, path)| (version.to_owned(), PathBuf::from(path.trim_end()))))
}

/// A LibTorch for the CPU out of links into the wheel.
fn link(torch: &Path, folder: &Path) -> Result<()> {
    let (from, to) = (torch.join("lib"), folder.join("lib"));
    fs::create_dir_all(&to)?;
    replace(&torch.join("include"), &folder.join("include"))?;
    for name in ["libc10.so", "libtorch_cpu.so"] {
        ensure!(
            from.join(name).is_file(),
            "{} lacks {name}: only wheels for Linux are known",
            from.display()
        );
        replace(&from.join(name), &to.join(name))?;
    }
    // Empty in the wheel but for its dependencies, all of CUDA among them.
    replace(Path::new("libtorch_cpu.so"), &to.join("libtorch.so"))?;
    // Wheels with CUDA have its plain name, those without a mangled one.
    let openmp = fs::read_dir(&from)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libgomp")))
        .with_context(|| format!("{} lacks libgomp", from.display()))?;
    let name = openmp.file_name().context("a file has a name")?;
    replace(&openmp, &to.join(name))?;
    replace(Path::new(name), &to.join("libgomp.so"))
}

fn replace(target: &Path, at: &Path) -> Result<()> {
    if fs::symlink_metadata(at).is_ok() {
        fs::remove_file(at).with_context(|| at.display().to_string())?;
    }
    symlink(target, at).with_context(|| at.display().to_string())
}

fn print(text: &str) -> Result<()> {
    use std::io::Write;
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
