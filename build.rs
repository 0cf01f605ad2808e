//! Passes the commit that is built on to the program, for the `git_revision` of its records. Finds the file of Apache ECharts in
//! the sources of the crate `charming`, for the page of a study (`src/present/page/`). With the feature `cuda`, compiles every
//! `.cu` of src/learn/kernels/ to PTX, which the program carries in it (`src/learn/kernels/cuda/`).

use std::{
    env,
    ffi::OsString,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// The least compute capability whose devices run the kernels: PTX for it is compiled for any later one by the driver.
const LEAST_CAPABILITY: &str = "80";

/// What the program is made of.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

fn main() {
    // A commit moves the branch's log; a change of the sources is seen by cargo itself.
    for watched in ["logs/HEAD", "HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", watched]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).map(|commit| {
        let is_clean = git(&[&["status", "--porcelain", "--"][..], &SOURCES[..]].concat());
        let is_clean = is_clean.is_none_or(|changes| changes.is_empty());
        if is_clean { commit } else { format!("{commit}-dirty") }
    });
    println!("cargo::rustc-env=FASTRCAPS_GIT_REVISION={}", revision.unwrap_or_default());
    pass_on_echarts();
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compile_kernels();
    }
}

/// Says where `echarts-VERSION.min.js` is, and its version: the crate's folder is known to cargo, which has fetched it.
fn pass_on_echarts() {
    let path = echarts_folder().and_then(|folder| {
        let entries = fs::read_dir(&folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| echarts_version(path).is_some()).ok_or_else(|| format!("{} has none", folder.display()))
    });
    let path = path.unwrap_or_else(|why| fail(&format!("Apache ECharts is not found in the crate `charming`: {why}")));
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rustc-env=FASTRCAPS_ECHARTS={}", path.display());
    println!("cargo::rustc-env=FASTRCAPS_ECHARTS_VERSION={}", echarts_version(&path).unwrap_or_default());
}

fn echarts_version(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_prefix("echarts-")?.strip_suffix(".min.js")
}

/// Where `charming` keeps what it carries.
fn echarts_folder() -> Result<PathBuf, String> {
    let known = |name: &str| env::var(name).map_err(|_| format!("cargo does not set {name}"));
    let mut command = Command::new(known("CARGO")?);
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"]);
    // What other platforms need is not fetched.
    command.arg(known("TARGET")?).current_dir(known("CARGO_MANIFEST_DIR")?);
    let output = command.output().map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages.filter(|package| package["name"] == "charming").find_map(|of| of["manifest_path"].as_str());
    let folder = manifest.and_then(|manifest| Path::new(manifest).parent()).ok_or("cargo metadata does not name it")?;
    Ok(folder.join("src/asset"))
}

/// Writes `OUT_DIR/ptx.rs`: an array of pairs, the name of each `.cu` and its PTX.
fn compile_kernels() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let nvcc = nvcc();
    let mut table = String::from("[\n");
    for source in cuda_sources(Path::new("src/learn/kernels")) {
        let name = source.file_stem().expect("a .cu file has a name").to_string_lossy().into_owned();
        let ptx = out.join(format!("{name}.ptx"));
        let mut command = Command::new(&nvcc);
        command.args(["-ptx", "-std=c++17", "-O3", "-Werror", "all-warnings", "-I", "src/learn/kernels"]);
        command.arg(format!("-arch=compute_{LEAST_CAPABILITY}")).arg("-o").arg(&ptx).arg(&source);
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => fail(&format!("{} does not compile: nvcc ended with {status}", source.display())),
            Err(error) => fail(&format!(
                "cannot run {}: {error}. The feature `cuda` needs the CUDA toolkit: put its nvcc on the PATH, or name it in \
                 NVCC or CUDA_HOME",
                nvcc.to_string_lossy()
            )),
        }
        writeln!(table, "    ({name:?}, include_str!({ptx:?})),").expect("a String takes everything");
    }
    table.push_str("]\n");
    fs::write(out.join("ptx.rs"), table).unwrap_or_else(|error| fail(&format!("cannot write ptx.rs: {error}")));
}

/// The compiler that the environment names, or that stands where it is installed by default.
fn nvcc() -> OsString {
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let installed = homes.chain([PathBuf::from("/usr/local/cuda")]).map(|home| home.join("bin/nvcc"));
    env::var_os("NVCC")
        .or_else(|| installed.into_iter().find(|path| path.exists()).map(Into::into))
        .unwrap_or_else(|| "nvcc".into())
}

/// Every `.cu` below `folder`, in the order of their paths.
fn cuda_sources(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| fail(&format!("cannot read {}: {error}", folder.display())));
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let of = |path: PathBuf| if path.is_dir() { cuda_sources(&path) } else { vec![path] };
    paths.into_iter().flat_map(of).filter(|path| path.extension().is_some_and(|extension| extension == "cu")).collect()
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
