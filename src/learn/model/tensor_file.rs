//! Tensors in a safetensors file, written and read piece by piece: a large one is never in memory a second time.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::learn::kernels::{with_values, with_values_mut};

/// Bytes of the number that a file begins with: the length of its header.
const LENGTH: usize = 8;
/// Values that become bytes at once.
const PIECE: usize = 1 << 14;

/// What the header says of a tensor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub dtype: Type,
    pub shape: Vec<usize>,
    /// After the header.
    data_offsets: [u64; 2],
}

/// The types of values that these files have, those with the widest alignment last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Type {
    U8,
    U32,
    F32,
}

impl Type {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Type::U8 => 1,
            Type::U32 | Type::F32 => 4,
        }
    }

    /// What candle calls it.
    pub fn dtype(self) -> DType {
        match self {
            Type::U8 => DType::U8,
            Type::U32 => DType::U32,
            Type::F32 => DType::F32,
        }
    }

    pub fn of(name: &str, tensor: &Tensor) -> Result<Type> {
        match tensor.dtype() {
            DType::U8 => Ok(Type::U8),
            DType::U32 => Ok(Type::U32),
            DType::F32 => Ok(Type::F32),
            other => bail!("tensor `{name}` is of {other:?}, which is not written to files"),
        }
    }
}

/// Writes `tensors` to the file at `path`, which is there and empty: the bytes that the library of safetensors would write.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let mut order = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        order.push((Type::of(name, tensor)?, name, tensor));
    }
    order.sort_by(|(a, a_name, _), (b, b_name, _)| b.cmp(a).then(a_name.cmp(b_name)));
    let mut header = String::from("{");
    let mut end = 0;
    for (dtype, name, tensor) in &order {
        let start = end;
        end += (tensor.elem_count() * dtype.size()) as u64;
        let entry = Entry { dtype: *dtype, shape: tensor.dims().to_vec(), data_offsets: [start, end] };
        let comma = if header.len() > 1 { "," } else { "" };
        header += &format!("{comma}{}:{}", serde_json::to_string(name)?, serde_json::to_string(&entry)?);
    }
    header += "}";
    header += &" ".repeat(header.len().next_multiple_of(LENGTH) - header.len());
    let mut file = BufWriter::new(File::options().write(true).truncate(true).open(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for (_, name, tensor) in order {
        each_piece(name, tensor, |bytes| Ok(file.write_all(bytes)?))?;
    }
    Ok(file.flush()?)
}

/// Calls `task` with the values of `tensor` as bytes, some at a time, in their order.
pub fn each_piece(name: &str, tensor: &Tensor, mut task: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match Type::of(name, tensor)? {
        Type::F32 => {
            let pieces = |values: &[f32]| {
                let mut bytes = Vec::with_capacity(size_of::<f32>() * values.len().min(PIECE));
                for piece in values.chunks(PIECE) {
                    bytes.clear();
                    bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
                    task(&bytes)?;
                }
                Ok(())
            };
            with_values(&tensor.contiguous()?, pieces)?
        }
        // These are small: a file's words, labels.
        Type::U8 => task(&tensor.flatten_all()?.to_vec1::<u8>()?),
        Type::U32 => {
            let values = tensor.flatten_all()?.to_vec1::<u32>()?;
            task(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
        }
    }
}

/// A file of tensors, of which only the header is in memory.
pub struct TensorFile<R> {
    source: R,
    /// Bytes before the values.
    start: u64,
    entries: BTreeMap<String, Entry>,
}

impl<R: Read + Seek> TensorFile<R> {
    /// Reads the header.
    ///
    /// Errors: it cannot be read; it is none, or not that of a file of this length.
    pub fn open(mut source: R) -> Result<TensorFile<R>> {
        let length = source.seek(SeekFrom::End(0))?;
        source.rewind()?;
        let mut bytes = [0; LENGTH];
        ensure!(length >= LENGTH as u64, "it is shorter than any file of tensors: {length} bytes");
        source.read_exact(&mut bytes)?;
        let header = u64::from_le_bytes(bytes);
        // What it says can then ask for no more memory than the file has bytes.
        ensure!(header <= length - LENGTH as u64, "its header has {header} bytes, of {length} in all");
        let start = LENGTH as u64 + header;
        let mut bytes = vec![0; usize::try_from(header)?];
        source.read_exact(&mut bytes)?;
        let entries: BTreeMap<String, Entry> = serde_json::from_slice(&bytes).context("its header is damaged")?;
        let mut ranges = Vec::with_capacity(entries.len());
        for (name, Entry { dtype, shape, data_offsets: [from, to] }) in &entries {
            let values = shape.iter().try_fold(1_usize, |values, size| values.checked_mul(*size));
            let bytes = values.and_then(|values| values.checked_mul(dtype.size()));
            ensure!(
                to.checked_sub(*from).zip(bytes).is_some_and(|(there, bytes)| there == bytes as u64),
                "its tensor `{name}` of shape {shape:?} does not fill bytes {from} to {to}"
            );
            ranges.push([*from, *to]);
        }
        ranges.sort_unstable();
        let end = ranges.iter().try_fold(0, |end, [from, to]| (*from == end).then_some(*to));
        ensure!(end == Some(length - start), "its tensors do not fill it");
        Ok(TensorFile { source, start, entries })
    }

    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Calls `task` with the bytes of tensor `name`, some at a time.
    pub fn read_pieces(&mut self, name: &str, mut task: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Range { start, end } = self.range(name)?;
        self.source.seek(SeekFrom::Start(start))?;
        let mut left = end - start;
        let mut bytes = vec![0; left.min((size_of::<f32>() * PIECE) as u64) as usize];
        while left > 0 {
            let piece = &mut bytes[..left.min((size_of::<f32>() * PIECE) as u64) as usize];
            self.source.read_exact(piece)?;
            task(piece)?;
            left -= piece.len() as u64;
        }
        Ok(())
    }

    /// The bytes of tensor `name`.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        self.read_pieces(name, |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    /// Puts the values of tensor `name` in the place of those of `tensor`, which is of its shape.
    pub fn read_into(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let is_alike = |entry: &Entry| entry.dtype == Type::F32 && entry.shape == tensor.dims();
        ensure!(self.entries.get(name).is_some_and(is_alike), "its tensor `{name}` is of another shape or type");
        // It has no first value, by which its storage is reached, and nothing to read.
        if tensor.elem_count() == 0 {
            return Ok(());
        }
        with_values_mut(tensor, |values: &mut [f32]| {
            let mut at = 0;
            self.read_pieces(name, |bytes| {
                let (pieces, _) = bytes.as_chunks();
                for (value, bytes) in values[at..].iter_mut().zip(pieces) {
                    *value = f32::from_le_bytes(*bytes);
                }
                at += pieces.len();
                Ok(())
            })
        })?
    }

    /// Where the values of `name` stand in the file.
    fn range(&self, name: &str) -> Result<Range<u64>> {
        let [from, to] = self.entries.get(name).with_context(|| format!("it has no tensor `{name}`"))?.data_offsets;
        Ok(self.start + from..self.start + to)
    }
}
