//! What a launch is called with.

use std::marker::PhantomData;

use super::view::{Input, Output, StreamId};

/// Sizes of a grid or a block.
#[derive(Clone, Copy, Debug)]
pub struct Dim(pub(super) [u32; 3]);

impl From<usize> for Dim {
    fn from(x: usize) -> Dim {
        Dim([x as u32, 1, 1])
    }
}

impl From<[usize; 2]> for Dim {
    fn from([x, y]: [usize; 2]) -> Dim {
        Dim([x as u32, y as u32, 1])
    }
}

impl From<[usize; 3]> for Dim {
    fn from(dim: [usize; 3]) -> Dim {
        Dim(dim.map(|side| side as u32))
    }
}

/// What a kernel is called with. One that is a pointer lives no longer than what stands there.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    Pointer(Pointer<'a>),
    /// `int`
    Int(i32),
    /// `long long`
    Long(i64),
    /// `float`
    Float(f32),
}

/// A pointer, by [`Input`], [`Output`], or none of them: null, for what a kernel need not read or write.
#[derive(Clone, Copy, Debug)]
pub struct Pointer<'a> {
    pub(super) at: u64,
    /// That which the memory belongs to.
    pub(super) stream: Option<StreamId>,
    held: PhantomData<&'a ()>,
}

impl<'a, T> From<Input<'a, T>> for Argument<'a> {
    fn from(values: Input<'a, T>) -> Argument<'a> {
        Argument::Pointer(Pointer { at: values.address(), stream: Some(values.stream()), held: PhantomData })
    }
}

impl<'a, T> From<Output<'a, T>> for Argument<'a> {
    fn from(values: Output<'a, T>) -> Argument<'a> {
        values.input().into()
    }
}

impl<'a, T> From<Option<Input<'a, T>>> for Argument<'a> {
    fn from(values: Option<Input<'a, T>>) -> Argument<'a> {
        values.map_or(Argument::Pointer(Pointer { at: 0, stream: None, held: PhantomData }), Argument::from)
    }
}

impl<'a, T> From<Option<Output<'a, T>>> for Argument<'a> {
    fn from(values: Option<Output<'a, T>>) -> Argument<'a> {
        values.map(Output::input).into()
    }
}

impl From<usize> for Argument<'_> {
    /// An `int`.
    ///
    /// # Panics
    /// When it is none: a size of more than 2^31 is to go as [`Argument::Long`].
    fn from(value: usize) -> Self {
        Argument::Int(i32::try_from(value).expect("a size passed to a kernel as int"))
    }
}

impl From<i64> for Argument<'_> {
    fn from(value: i64) -> Self {
        Argument::Long(value)
    }
}

impl From<f32> for Argument<'_> {
    fn from(value: f32) -> Self {
        Argument::Float(value)
    }
}

/// The arguments of a launch.
macro_rules! arguments {
    ($($argument:expr),+ $(,)?) => { &[$($crate::learn::kernels::cuda::Argument::from($argument)),+] };
}
pub(crate) use arguments;
