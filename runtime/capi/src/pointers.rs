//! Pointers of C to references of Rust: the only file of this crate that reads through one.
//!
//! What can be checked is checked here: null, alignment, lengths beyond the address space. What
//! cannot, that the memory is the caller's and stays, is the contract written in `coda.h`.
#![expect(unsafe_code, reason = "pointers of C")]

use crate::state::{MAGIC, Region, State};
use crate::status::Status;
use crate::types::Context;
use core::ffi::c_void;

const _: () = assert!(size_of::<State>() <= size_of::<Context>());
const _: () = assert!(align_of::<State>() <= align_of::<Context>());

/// `pointer` leads to `count` aligned values within the address space; a null one only to none.
fn check<T>(pointer: *const T, count: usize) -> Result<(), Status> {
    if pointer.is_null() {
        return Err(Status::NullPointer);
    }
    let bytes = count.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize);
    let inside = bytes.and_then(|bytes| pointer.addr().checked_add(bytes)).is_some();
    if pointer.is_aligned() && inside { Ok(()) } else { Err(Status::BadPointer) }
}

/// `count` values; none may have a null pointer.
pub(crate) fn slice<'a, T>(pointer: *const T, count: usize) -> Result<&'a [T], Status> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer, count)?;
    // SAFETY: not null, aligned and within the address space by the check above; that the caller
    // owns `count` values there, which nobody changes meanwhile, is the contract of every exported
    // function.
    Ok(unsafe { core::slice::from_raw_parts(pointer, count) })
}

/// `count` values to write; none may have a null pointer.
pub(crate) fn slice_mut<'a, T>(pointer: *mut T, count: usize) -> Result<&'a mut [T], Status> {
    if count == 0 {
        return Ok(&mut []);
    }
    check(pointer, count)?;
    // SAFETY: as in `slice`, and by the same contract nobody else reads or writes there meanwhile.
    Ok(unsafe { core::slice::from_raw_parts_mut(pointer, count) })
}

/// A package of the caller, which stays where it is as long as the context is used.
pub(crate) fn package(pointer: *const c_void, bytes: usize) -> Result<&'static [u8], Status> {
    check(pointer.cast::<u8>(), bytes)?;
    slice(pointer.cast(), bytes)
}

/// A value to read, or none.
pub(crate) fn optional<'a, T>(pointer: *const T) -> Result<Option<&'a T>, Status> {
    if pointer.is_null() { Ok(None) } else { slice(pointer, 1).map(<[T]>::first) }
}

/// Writes a result.
pub(crate) fn write<T>(pointer: *mut T, value: T) -> Result<(), Status> {
    check(pointer, 1)?;
    // SAFETY: not null and aligned by the check above; the contract of every exported function says
    // that the caller owns a value of this type there.
    unsafe { pointer.write(value) };
    Ok(())
}

/// A structure of the caller for a result, whose first word says its size.
pub(crate) fn check_size<T>(pointer: *const T) -> Result<(), Status> {
    check(pointer, 1)?;
    // SAFETY: not null and aligned by the check above; every structure of the interface that says its size
    // begins with it, and any bits are a word.
    let bytes = unsafe { pointer.cast::<usize>().read() };
    if bytes == size_of::<T>() { Ok(()) } else { Err(Status::StructureSize) }
}

/// A place for a result is there.
pub(crate) fn writable<T>(pointer: *mut T) -> Result<(), Status> {
    check(pointer, 1)
}

/// Where a context lies.
pub(crate) fn region_of(context: *const Context) -> Region {
    Region { start: context.addr(), bytes: size_of::<Context>() }
}

/// Fresh memory becomes a context without a model. What is written lies on the stack first, in a frame
/// that ends here.
#[inline(never)]
pub(crate) fn new_state(context: *mut Context) -> Result<(), Status> {
    check(context, 1)?;
    let state = context.cast::<State>();
    // SAFETY: not null and aligned; a state is no larger and no more aligned than a context by the
    // assertions above, and the contract says that the caller owns a context there.
    unsafe { state.write(State::empty()) };
    Ok(())
}

/// The memory was initialised: its first word says so.
fn check_magic<T>(memory: *const T, magic: usize) -> Result<(), Status> {
    check(memory, 1)?;
    // SAFETY: not null and aligned by the check above; the first field of what is kept there is a word,
    // and any bits are a word.
    let found = unsafe { memory.cast::<usize>().read() };
    if found == magic { Ok(()) } else { Err(Status::NotInitialized) }
}

/// The state of a context, if it was initialised.
pub(crate) fn state_mut<'a>(context: *mut Context) -> Result<&'a mut State, Status> {
    check_magic(context, MAGIC)?;
    // SAFETY: the word says that `new_state` wrote a state here, and one call at a time uses it by
    // the contract.
    Ok(unsafe { &mut *context.cast::<State>() })
}

/// The state of a context that is only read.
pub(crate) fn state<'a>(context: *const Context) -> Result<&'a State, Status> {
    check_magic(context, MAGIC)?;
    // SAFETY: the word says that `new_state` wrote a state here, and no call changes it meanwhile
    // by the contract.
    Ok(unsafe { &*context.cast::<State>() })
}

/// What memory of a caller holds besides a context. It is `repr(C)`, and its first field is the word [`MAGIC`].
///
/// [`MAGIC`]: Held::MAGIC
#[cfg(feature = "decoder")]
pub(crate) trait Held: Sized {
    /// The caller's structure.
    type Place;
    /// Tells it from memory that was never initialised.
    const MAGIC: usize;
    /// The structure has room for it.
    const FITS: () = assert!(
        size_of::<Self>() <= size_of::<Self::Place>()
            && align_of::<Self>() <= align_of::<Self::Place>()
    );
}

/// Fresh memory comes to hold a value.
#[cfg(feature = "decoder")]
pub(crate) fn hold<T: Held>(place: *mut T::Place, value: T) -> Result<(), Status> {
    let () = T::FITS;
    check(place, 1)?;
    // SAFETY: not null and aligned; the value is no larger and no more aligned than the place by the assertion, and
    // the contract says that the caller owns one there.
    unsafe { place.cast::<T>().write(value) };
    Ok(())
}

/// What [`hold`] put there.
#[cfg(feature = "decoder")]
pub(crate) fn held_mut<'a, T: Held>(place: *mut T::Place) -> Result<&'a mut T, Status> {
    check_magic(place, T::MAGIC)?;
    // SAFETY: the word says that `hold` wrote such a value here, and one call at a time uses it by the contract.
    Ok(unsafe { &mut *place.cast::<T>() })
}
