//! The variables of a network: seeded, named as a PyTorch model would, saved as safetensors.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use candle_core::{DType, Device, Error, Shape, Tensor, Var, bail};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use rand::RngCore;
use rand_distr::{Distribution, StandardNormal};

use super::tensor_file;
use crate::base::files::write_through;
use crate::base::rng;

/// A store of variables by name, the backend of a `VarBuilder`.
///
/// A variable's initial values are a pure function of (seed, name, shape): two networks that both have a `conv1.weight` of one
/// shape start from the same one, whatever else they hold.
///
/// ```
/// # use fastrcaps::learn::model::parameters::Parameters;
/// # use candle_core::{DType, Device};
/// let parameters = Parameters::new(7);
/// let builder = parameters.builder(DType::F32, &Device::Cpu);
/// builder.pp("conv1").get_with_hints((3, 2), "bias", candle_nn::Init::Const(0.5))?;
/// assert_eq!(parameters.count(), 6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub struct Parameters {
    seed: u64,
    vars: Store,
}

/// Last parts of the names of running statistics, as PyTorch has them: steps change these variables, no optimizer does.
pub const RUNNING_MEAN: &str = "running_mean";
pub const RUNNING_VARIANCE: &str = "running_var";

/// Whether a variable is trained, by its name.
fn is_trained(name: &str) -> bool {
    !name.rsplit_once('.').is_some_and(|(_, last)| [RUNNING_MEAN, RUNNING_VARIANCE].contains(&last))
}

type Store = Arc<Mutex<BTreeMap<String, Var>>>;

/// Copies of all values at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(BTreeMap<String, Tensor>);

impl Snapshot {
    /// The values by variable.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.0
    }

    /// The same values in tensors of their own.
    pub fn copy(&self) -> candle_core::Result<Snapshot> {
        let copies = self.0.iter().map(|(name, tensor)| Ok((name.clone(), tensor.copy()?)));
        Ok(Snapshot(copies.collect::<candle_core::Result<_>>()?))
    }

    /// Names, shapes and types: see [`Parameters::check`].
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize], DType)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor.dims(), tensor.dtype()))
    }
}

impl From<BTreeMap<String, Tensor>> for Snapshot {
    fn from(tensors: BTreeMap<String, Tensor>) -> Snapshot {
        Snapshot(tensors)
    }
}

impl Parameters {
    pub fn new(seed: u64) -> Self {
        Parameters { seed, vars: Store::default() }
    }

    /// A builder that creates the variables it is asked for.
    pub fn builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        let backend = Backend { seed: self.seed, vars: self.vars.clone() };
        VarBuilder::from_backend(Box::new(backend), dtype, device.clone())
    }

    /// All variables, in the order of their names.
    pub fn vars(&self) -> Vec<(String, Var)> {
        lock(&self.vars).iter().map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    /// The variables that an optimizer moves, in the order of their names: all but running statistics.
    pub fn trained(&self) -> Vec<(String, Var)> {
        self.vars().into_iter().filter(|(name, _)| is_trained(name)).collect()
    }

    /// Values in all variables together.
    pub fn count(&self) -> usize {
        lock(&self.vars).values().map(|var| var.elem_count()).sum()
    }

    /// Copies the values.
    pub fn snapshot(&self) -> candle_core::Result<Snapshot> {
        let copy = |(name, var): (String, Var)| Ok((name, var.as_detached_tensor().copy()?));
        Ok(Snapshot(self.vars().into_iter().map(copy).collect::<candle_core::Result<_>>()?))
    }

    /// The values themselves, without a copy: they change with the next step.
    pub fn view(&self) -> Snapshot {
        Snapshot(self.vars().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect())
    }

    /// Puts the values of a snapshot back.
    ///
    /// Errors: the snapshot is of another network, see [`Parameters::check`]. No variable changes then.
    pub fn restore(&self, snapshot: &Snapshot) -> candle_core::Result<()> {
        self.check(snapshot.shapes())?;
        self.vars().into_iter().try_for_each(|(name, var)| var.set(&snapshot.0[&name].to_device(var.device())?))
    }

    /// Whether these names, shapes and types are those of the variables, of all and of no others.
    pub fn check<'a>(&self, held: impl Iterator<Item = (&'a str, &'a [usize], DType)>) -> candle_core::Result<()> {
        self.check_those(|_| true, held)
    }

    /// [`Parameters::check`] of what an optimizer has for each variable that it moves.
    pub fn check_trained<'a>(
        &self,
        held: impl Iterator<Item = (&'a str, &'a [usize], DType)>,
    ) -> candle_core::Result<()> {
        self.check_those(is_trained, held)
    }

    fn check_those<'a>(
        &self,
        which: fn(&str) -> bool,
        held: impl Iterator<Item = (&'a str, &'a [usize], DType)>,
    ) -> candle_core::Result<()> {
        let mut missing = lock(&self.vars).clone();
        missing.retain(|name, _| which(name));
        for (name, shape, dtype) in held {
            let Some(var) = missing.remove(name) else { bail!("`{name}` is not part of the network") };
            if var.dims() != shape {
                bail!("`{name}` has shape {shape:?}, but the network's is {:?}", var.dims());
            }
            if var.dtype() != dtype {
                bail!("`{name}` is of {dtype:?}, but the network's is of {:?}", var.dtype());
            }
        }
        if let Some((name, var)) = missing.first_key_value() {
            bail!("it holds no `{name}` (shape {:?} expected)", var.dims());
        }
        Ok(())
    }

    /// Writes all variables to a safetensors file, atomically.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        write_through(path, |path| tensor_file::write(path, self.view().tensors()))
    }

    /// Reads the values of all variables from a safetensors file.
    ///
    /// Errors: an unreadable file; a tensor missing, unknown or of another shape. No variable changes then.
    pub fn load(&self, path: &Path) -> anyhow::Result<()> {
        let read = || candle_core::safetensors::load(path, &Device::Cpu);
        let context = || format!("cannot read weights from {}", path.display());
        let vars = lock(&self.vars).clone();
        let convert = |(name, tensor): (String, Tensor)| {
            let dtype = vars.get(&name).map_or(tensor.dtype(), |var| var.dtype());
            Ok((name, tensor.to_dtype(dtype)?))
        };
        let tensors = read().with_context(context)?.into_iter().map(convert).collect::<candle_core::Result<_>>()?;
        self.restore(&Snapshot(tensors)).with_context(context)
    }
}

/// A panic under the lock leaves a valid map, so that a poisoned lock is no reason to fail.
fn lock(vars: &Store) -> MutexGuard<'_, BTreeMap<String, Var>> {
    vars.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Backend {
    seed: u64,
    vars: Store,
}

impl Backend {
    /// Initial values, drawn in f32 whatever the variable's type.
    fn initial(&self, name: &str, shape: &Shape, init: Init) -> candle_core::Result<Vec<f32>> {
        let mut stream = rng::stream(self.seed, &format!("init/{name}"), 0);
        let mut draw = |next: &mut dyn FnMut(&mut rand_chacha::ChaCha8Rng) -> f64| {
            (0..shape.elem_count()).map(|_| next(&mut stream) as f32).collect()
        };
        Ok(match init {
            Init::Const(value) => vec![value as f32; shape.elem_count()],
            Init::Uniform { lo, up } => draw(&mut |stream| {
                let u = f64::from(stream.next_u32() >> 8) / f64::from(1 << 24);
                lo + (up - lo) * u
            }),
            Init::Randn { mean, stdev } => draw(&mut |stream| {
                let z: f64 = StandardNormal.sample(stream);
                mean + stdev * z
            }),
            Init::Kaiming { .. } => bail!("`{name}`: Kaiming initialisation is not supported; give its bounds"),
        })
    }
}

impl SimpleBackend for Backend {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let mut vars = lock(&self.vars);
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                Err(Error::UnexpectedShape {
                    msg: format!("`{name}` exists with another shape"),
                    expected: var.shape().clone(),
                    got: shape,
                })?
            }
            return Ok(var.as_tensor().clone());
        }
        let values = self.initial(name, &shape, init)?;
        let var =
            Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)?;
        vars.insert(name.to_string(), var.clone());
        Ok(var.as_tensor().clone())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        match lock(&self.vars).get(name) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => Err(Error::CannotFindTensor { path: name.to_string() }),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        lock(&self.vars).contains_key(name)
    }
}
